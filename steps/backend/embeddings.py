"""Embeddings on disk, and in memory with the names that keep them from being mixed up."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from steps.inference.arrays import read_arrays

STATS = "stats.json"


@dataclass
class Embeddings:
    """Vectors (n, E) in float32 of n utterances, with the id, speaker and seconds of each."""

    ids: list[str]
    vectors: np.ndarray
    speakers: list[str]
    seconds: np.ndarray

    def __post_init__(self) -> None:
        if not len(self.ids) == len(self.vectors) == len(self.speakers) == len(self.seconds):
            raise ValueError(
                f"{len(self.ids)} ids, {len(self.vectors)} vectors, {len(self.speakers)} speakers and "
                f"{len(self.seconds)} durations do not belong together"
            )
        self._rows = {id: row for row, id in enumerate(self.ids)}
        if len(self._rows) != len(self.ids):
            twice = next(id for row, id in enumerate(self.ids) if self._rows[id] != row)
            raise ValueError(f"utterance {twice} has two embeddings")

    def rows(self, ids: Sequence[str]) -> np.ndarray:
        """Where the utterances lie. Raises ValueError that names the first one missing."""
        missing = [id for id in ids if id not in self._rows]
        if missing:
            raise ValueError(
                f"{len(missing)} utterances have no embedding, the first is {missing[0]}; extract them (stage 6), "
                f"or take them out of the trials"
            )
        return np.array([self._rows[id] for id in ids], dtype=np.int64)

    def of(self, ids: Sequence[str]) -> np.ndarray:
        """The vectors (len(ids), E) of the utterances, in the order of `ids`."""
        return self.vectors[self.rows(ids)]

    def save(self, file: Path) -> None:
        """Writes one .npz that holds nothing but arrays."""
        np.savez(
            file,
            ids=np.array(self.ids, dtype=np.str_),
            vectors=self.vectors.astype(np.float32),
            speakers=np.array(self.speakers, dtype=np.str_),
            seconds=np.asarray(self.seconds, dtype=np.float64),
        )

    @classmethod
    def load(cls, file: Path) -> "Embeddings":
        """The inverse of `save`. Raises FileNotFoundError, or ValueError for another kind of file."""
        if not file.is_file():
            raise FileNotFoundError(f"{file} does not exist; steps.extract_embeddings makes it")
        try:
            arrays = read_arrays(file)
            return cls(arrays["ids"].tolist(), arrays["vectors"], arrays["speakers"].tolist(), arrays["seconds"])
        except (KeyError, ValueError, OSError) as error:
            raise ValueError(f"{file} holds no embeddings: {error}") from error


def read_embeddings(folder: Path, kind: str = "utterances") -> Embeddings:
    """What the jobs wrote to `folder`/1, `folder`/2, ..., put together. Raises FileNotFoundError for a missing job."""
    parts = [Embeddings.load(part / f"{kind}.npz") for part in job_folders(folder)]
    return Embeddings(
        [id for part in parts for id in part.ids],
        np.concatenate([part.vectors for part in parts if len(part.ids)] or [np.zeros((0, 1), np.float32)]),
        [speaker for part in parts for speaker in part.speakers],
        np.concatenate([part.seconds for part in parts]),
    )


def job_folders(folder: Path) -> list[Path]:
    """The jobs' directories, in order. Raises FileNotFoundError when one is missing."""
    num_jobs = read_stats(folder / "1")["num_jobs"]
    folders = [folder / str(job) for job in range(1, num_jobs + 1)]
    for part in folders:
        read_stats(part)
    return folders


def read_stats(part: Path) -> dict[str, Any]:
    """What a job of steps.extract_embeddings says of itself."""
    if not (part / STATS).is_file():
        raise FileNotFoundError(f"{part} is missing or not complete; steps.extract_embeddings makes it")
    return json.loads((part / STATS).read_text(encoding="utf-8"))
