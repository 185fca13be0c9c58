"""Everything that returns something to call .backward() on."""
