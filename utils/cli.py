"""The end of every verb: run its main, and turn a user's mistake into one line instead of a traceback."""

import logging
import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from utils import log


def run(main: Callable[[], None]) -> None:
    """Calls `main` with logging set up, and exits with 0, or 1 after a mistake that the user can mend.

    ValueError and OSError carry messages for users; anything else is a defect of ours and keeps its
    traceback. `RECIPE_TRACEBACK=true` in the environment shows the traceback of those too.
    """
    log.setup()
    try:
        main()
    except (ValueError, OSError) as error:
        if os.environ.get("RECIPE_TRACEBACK") == "true":
            raise
        logging.error("%s", error)
        sys.exit(1)


def check_paths(inputs: Iterable[Path | None], out: Path | None) -> None:
    """Raises FileNotFoundError for an input that is not there, ValueError where `out` lies in one; None is no path."""
    for path in inputs:
        if path is not None and not path.exists():
            raise FileNotFoundError(f"{path}: there is no such file or directory")
        if path is not None and out is not None and path.resolve() in (out.resolve(), *out.resolve().parents):
            raise ValueError(f"--out {out} is part of what is read, {path}; give a directory elsewhere")
