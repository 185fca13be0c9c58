"""The embeddings that tell a network whom to extract, by utterance; a plan names one for each of its talkers."""

import logging
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from steps.backend.embeddings import read_embeddings


class Enrolments:
    """The embeddings of one split's utterances, by whom they are.

    `folder` is what the jobs of steps.extract_embeddings wrote to, such as exp/x/embeddings_train; `supervisions` is
    the speaker of each utterance that may be in a mixture. Embeddings of others are left aside.

    A talker with one utterance is told by that one, although the mixture holds it: extraction is easier then than it
    is in use. `alone` has these talkers, and a warning counts them.

    Raises FileNotFoundError where a job's embeddings are missing, ValueError for an utterance without one, and for
    one that has no direction.
    """

    def __init__(self, folder: Path, supervisions: Mapping[str, str]):
        if not supervisions:
            raise ValueError(f"no utterances to choose enrolments from; {folder} is of no use without supervisions")
        self.folder = folder
        try:
            found = read_embeddings(folder)
        except FileNotFoundError as error:
            raise FileNotFoundError(
                f"{folder} does not have the embeddings of all jobs ({error.args[0]}): "
                f"python3 -m steps.extract_embeddings --cuts ... --out {folder}/JOB makes them"
            ) from error
        ids = sorted(supervisions)
        rows = {id: row for row, id in enumerate(found.ids)}
        missing = [id for id in ids if id not in rows]
        if missing:
            raise ValueError(
                f"{folder}: {len(missing)} of {len(ids)} utterances have no embedding, the first is {missing[0]}; "
                f"extract those of the cuts that the mixtures are made from"
            )
        self._vectors = unit_vectors(found.vectors[[rows[id] for id in ids]], ids, folder)
        self._rows = {id: row for row, id in enumerate(ids)}
        counts = Counter(supervisions.values())
        self.alone = tuple(sorted(name for name, count in counts.items() if count == 1))
        if self.alone:
            logging.warning(
                "%s: %d of %d speakers have one utterance (the first is %s): it is their enrolment in its own mixtures",
                *(folder, len(self.alone), len(counts), self.alone[0]),
            )

    @property
    def dim(self) -> int:
        """E, the size of an embedding."""
        return self._vectors.shape[1]

    def embedding(self, utterance: str) -> Tensor:
        """(E,) float32 of length 1. Raises ValueError for an utterance that is not among the supervisions."""
        if utterance not in self._rows:
            raise ValueError(f"{self.folder}: utterance {utterance} is not among the supervisions of this split")
        return torch.from_numpy(self._vectors[self._rows[utterance]].copy())


def unit_vectors(vectors: np.ndarray, ids: list[str], folder: Path) -> np.ndarray:
    """(n, E) -> (n, E) float32 of length 1. Raises ValueError naming an utterance whose length is 0 or not finite."""
    lengths = np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    wrong = np.flatnonzero(~((lengths > 0) & np.isfinite(lengths)).ravel())
    if len(wrong):
        raise ValueError(
            f"{folder}: the embedding of {ids[wrong[0]]} has length {lengths[wrong[0], 0]:g}; look at its audio, and "
            f"at the speaker model"
        )
    return (vectors / lengths).astype(np.float32)
