"""Write to a temporary name, then rename: a reader sees the old file or the new one, never half of one."""

import contextlib
import json
import os
import re
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any


@contextlib.contextmanager
def output(path: Path | str) -> Iterator[Path]:
    """Yields a temporary path beside `path`; on success it is renamed to `path`, on error removed.

    What is written there may be a file or a directory. The temporary name keeps the suffixes of
    `path`, since writers choose their format by suffix (`cuts.jsonl.gz`). A directory that is
    replaced is moved aside first, so that at no time is a mixture of old and new visible.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    clear(path)
    temporary = _beside(path, "tmp")
    remove(temporary)
    try:
        yield temporary
        if not temporary.exists():
            raise FileNotFoundError(f"nothing was written to {temporary}, which was to become {path}")
        if os.path.lexists(path) and (path.is_dir() or temporary.is_dir()):
            retired = _beside(path, "old")
            path.rename(retired)
            temporary.rename(path)
            remove(retired)  # of a link, the link alone
        else:
            temporary.replace(path)
    finally:
        remove(temporary)


def clear(path: Path | str) -> None:
    """Removes what processes of this machine that were killed while they wrote `path` left beside it."""
    path = Path(path)
    ours = re.compile(rf"\.(?:tmp|old)-{re.escape(socket.gethostname())}-(\d+)-{re.escape(path.name)}")
    for entry in path.parent.iterdir() if path.parent.is_dir() else ():
        left = ours.fullmatch(entry.name)
        if left and not _alive(int(left[1])):
            remove(entry)


def write_text(path: Path | str, text: str) -> None:
    """Writes `text` as UTF-8 with Unix line ends."""
    with output(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: Path | str, value: Any) -> None:
    """Writes `value` as indented JSON, Mandarin as it is. NaN and infinity raise ValueError."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def remove(path: Path) -> None:
    """Removes a file or a directory tree, if there is one."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _beside(path: Path, kind: str) -> Path:
    return path.with_name(f".{kind}-{socket.gethostname()}-{os.getpid()}-{path.name}")


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except OSError as error:
        return isinstance(error, PermissionError)
    return True
