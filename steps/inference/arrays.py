"""Arrays in a file, read without running anything that it holds."""

import zipfile
from pathlib import Path

import numpy as np


def read_arrays(path: Path | str) -> dict[str, np.ndarray]:
    """The arrays of an .npz by name. Raises OSError, or ValueError for any other kind of file and a broken one."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return dict(arrays)
    except (EOFError, TypeError, AttributeError, zipfile.BadZipFile) as error:
        raise ValueError(str(error)) from error
