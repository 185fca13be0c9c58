"""Outputs that know what they were made from.

Beside an output `x` lies `.x.made.json` with the arguments and a fingerprint of every input. A verb
that finds its output made from the same things skips the work; one that finds it made from others
stops and says what differs, since an output that is silently stale is worse than none.
"""

import contextlib
import hashlib
import json
import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from utils import atomic

HASHED_BYTES = 64 << 20  # larger files are known by size and modification time


class StaleOutputError(ValueError):
    """An output exists that was made from other arguments or inputs."""


def fingerprint(path: Path | str) -> str:
    """Identity of a file's content, or of a directory's (names and contents of all files below it).

    Files up to 64 MiB are hashed; larger ones count by size and modification time.
    """
    path = Path(path)
    if path.is_dir():
        files = sorted(p.relative_to(path) for p in path.rglob("*") if p.is_file())
        parts = [f"{p} {fingerprint(path / p)}" for p in files if not any(n.startswith(".") for n in p.parts)]
        return "tree:" + hashlib.sha256("\n".join(parts).encode()).hexdigest()
    stat = path.stat()
    if stat.st_size > HASHED_BYTES:
        return f"stat:{stat.st_size}:{stat.st_mtime_ns}"
    return "sha256:" + hashlib.sha256(path.read_bytes()).hexdigest()


def record_path(output: Path | str) -> Path:
    """Where the record of `output` lies."""
    output = Path(output)
    return output.with_name(f".{output.name}.made.json")


@contextlib.contextmanager
def make(output: Path | str, args: Mapping[str, Any], inputs: Iterable[Path | str] = ()) -> Iterator[Path | None]:
    """Yields a temporary path to write `output` to, or None when it is there and up to date.

    `args` are the values that shape the output (JSON-able; paths count as strings); `inputs` the
    files and directories read. On success the temporary file or directory is renamed to `output`
    and the record written. With RECIPE_FORCE=true in the environment (`run.sh --force`) the output
    is always made again.

    Raises FileNotFoundError for a missing input and StaleOutputError when `output` was made from
    something else.
    """
    output = Path(output)
    wanted = {
        "args": json.loads(json.dumps(dict(args), default=str)),
        "inputs": {str(p): fingerprint(_existing(p)) for p in inputs},
    }
    if output.exists() and os.environ.get("RECIPE_FORCE") != "true" and not _broken_off(output):
        differences = _differences(output, wanted)
        if not differences:
            logging.info("%s is up to date", output)
            yield None
            return
        raise StaleOutputError(
            f"{output} exists, but was made differently: {'; '.join(differences)}. "
            f"Use --force to make it again, or another --exp (or data directory) to keep both."
        )
    # From here to the last line whatever lies at `output` is of unknown make: if we are killed, the next run
    # must neither trust it nor complain of it, but make it again.
    atomic.write_json(record_path(output), {**wanted, "finished": False})
    try:
        with atomic.output(output) as temporary:
            yield temporary
    finally:
        if not output.exists():
            record_path(output).unlink(missing_ok=True)
    atomic.write_json(record_path(output), wanted)


def _existing(path: Path | str) -> Path:
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist; an earlier stage makes it (see run.sh --list-stages)")
    return path


def _broken_off(output: Path) -> bool:
    record = record_path(output)
    return record.exists() and json.loads(record.read_text(encoding="utf-8")).get("finished") is False


def _differences(output: Path, wanted: dict[str, Any]) -> list[str]:
    record = record_path(output)
    if not record.exists():
        return []  # placed there by hand: the user's word counts
    made = json.loads(record.read_text(encoding="utf-8"))
    found = []
    for kind, label in (("args", "option"), ("inputs", "input")):
        for key in sorted(made[kind].keys() | wanted[kind].keys()):
            before, now = made[kind].get(key), wanted[kind].get(key)
            if before == now:
                continue
            values = f": {before!r} then, {now!r} now" if kind == "args" else " has changed"
            found.append(f"{label} {key}{values}")
    return found
