"""One log format for every Python stage: time, level, message, on standard error."""

import logging
import sys
from pathlib import Path


def setup(file: Path | None = None) -> logging.Logger:
    """Sends the root logger to stderr and, when `file` is given, appends the same lines to it.

    Returns the root logger. Calling it again replaces the handlers, so that a test or a
    second stage in one process does not write each line twice.
    """
    formatter = logging.Formatter("%(asctime)s %(levelname)s %(message)s", "%Y-%m-%d %H:%M:%S")
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stderr)]
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        handlers.append(logging.FileHandler(file, encoding="utf-8"))
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
        old.close()
    for handler in handlers:
        handler.setFormatter(formatter)
        root.addHandler(handler)
    root.setLevel(logging.INFO)
    return root
