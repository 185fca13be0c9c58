"""Gzipped text that depends on its lines alone.

The usual writers put the time of writing into the header, which would give equal files different fingerprints.
"""

import gzip
from collections.abc import Iterable
from pathlib import Path

from utils import atomic


def write_lines(path: Path, lines: Iterable[str], level: int = 9) -> None:
    """Writes each line and a line end as gzipped UTF-8; the file appears when it is complete.

    `level` is 1 (fast) to 9 (small).
    """
    with (
        atomic.output(path) as temporary,
        temporary.open("wb") as file,
        gzip.GzipFile("", "wb", level, fileobj=file, mtime=0) as archive,
    ):
        for line in lines:
            archive.write(line.encode() + b"\n")
