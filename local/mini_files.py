"""What the embedded corpora do alike with their folders and plans."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from utils import atomic


def make_room(corpus_dir: Path, marker: Path | str) -> None:
    """Removes an empty folder of that name and what killed runs left.

    Raises ValueError for a folder with other content than a corpus, which has the file `marker`.
    """
    atomic.clear(corpus_dir)
    if corpus_dir.is_dir() and not any(corpus_dir.iterdir()):
        corpus_dir.rmdir()
    if corpus_dir.exists() and not (corpus_dir / marker).is_file():
        raise ValueError(f"{corpus_dir} is not empty and holds no mini corpus; choose another --corpus-dir")


def plan_lines(items: Sequence[Any]) -> str:
    """A plan's dataclasses as JSON, one a line."""
    return "".join(json.dumps(dataclasses.asdict(item), ensure_ascii=False) + "\n" for item in items)
