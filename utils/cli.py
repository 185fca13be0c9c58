"""The end of every verb: run its main, and turn a user's mistake into one line instead of a traceback."""

import logging
import os
import sys
from collections.abc import Callable

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
