"""Posteriors in batches, and in a file for a search elsewhere.

The file is an .npz with one array (T, V) of float32 log-posteriors per utterance, named by its place, and
`meta.json`. It is read where neither lhotse nor a recent torch is, such as the environment of k2 1.23.4.
"""

import contextlib
import io
import json
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from steps.decoding.ctc import to_numpy
from steps.inference.shares import groups_by_seconds, of_job
from utils import atomic


@dataclass
class Utterance:
    """What scoring needs to know of an utterance besides its hypothesis."""

    id: str
    speaker: str
    text: str
    seconds: float  # of audio


@dataclass
class Batch:
    """Posteriors of N utterances."""

    utterances: list[Utterance]
    log_probs: Any  # (N, T, V) natural logs, a torch tensor or a numpy array
    lengths: Any  # (N,) frames


class PosteriorWriter:
    """Writes a file of posteriors utterance by utterance; a context manager.

    `facts` is JSON-able and comes back as `PosteriorFile.facts`. The file is not safe against interruption:
    write to a temporary name (utils.atomic.output).
    """

    def __init__(self, path: Path, facts: dict[str, Any]):
        self.archive = zipfile.ZipFile(path, "w", zipfile.ZIP_STORED)
        self.facts = facts
        self.utterances: list[Utterance] = []

    def add(self, batch: Batch) -> None:
        """Appends a batch."""
        rows = zip(batch.utterances, to_numpy(batch.log_probs), to_numpy(batch.lengths), strict=True)
        for utterance, row, length in rows:
            buffer = io.BytesIO()
            np.save(buffer, np.ascontiguousarray(row[:length], dtype=np.float32))
            self.archive.writestr(f"{len(self.utterances)}.npy", buffer.getvalue())
            self.utterances.append(utterance)

    def __enter__(self) -> "PosteriorWriter":
        return self

    def __exit__(self, kind: Any, *_: Any) -> None:
        if kind is None:
            meta = {"facts": self.facts, "utterances": [asdict(utterance) for utterance in self.utterances]}
            self.archive.writestr("meta.json", json.dumps(meta, ensure_ascii=False))
        self.archive.close()


@contextlib.contextmanager
def keeping(path: Path | None, facts: dict[str, Any]) -> Iterator[Callable[[Batch], None]]:
    """Yields a function that takes batches: into a file at `path`, or nowhere without one."""
    if path is None:
        yield lambda batch: None
    else:
        with atomic.output(path) as temporary, PosteriorWriter(temporary, facts) as writer:
            yield writer.add


class PosteriorFile:
    """A file that PosteriorWriter wrote. Raises ValueError when it is not one."""

    def __init__(self, path: Path):
        try:
            self.archive = np.load(path)
            meta = json.loads(self.archive["meta.json"])
        except (zipfile.BadZipFile, KeyError, ValueError, EOFError) as error:
            raise ValueError(f"{path}: not a file that steps.decode_asr --save-posteriors wrote") from error
        self.facts: dict[str, Any] = meta["facts"]
        self.utterances = [Utterance(**fields) for fields in meta["utterances"]]

    def batches(self, job: int, num_jobs: int, batch_seconds: float) -> Iterator[Batch]:
        """The share of one job, in batches of numpy arrays."""
        places = of_job(list(range(len(self.utterances))), job, num_jobs)
        timed = ((self.utterances[place].seconds, place) for place in places)
        for group in groups_by_seconds(timed, batch_seconds):
            rows = [self.archive[str(place)] for place in group]
            lengths = np.array([len(row) for row in rows])
            log_probs = np.zeros((len(rows), lengths.max(), rows[0].shape[1]), dtype=np.float32)
            for row, padded in zip(rows, log_probs, strict=True):
                padded[: len(row)] = row
            yield Batch([self.utterances[place] for place in group], log_probs, lengths)
