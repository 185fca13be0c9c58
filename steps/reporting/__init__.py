"""A page about a run: markup, charts, tables and sound as functions of plain data, and what ASR makes of them."""
