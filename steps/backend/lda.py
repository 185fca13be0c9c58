"""Linear discriminant analysis: the directions in which speakers differ more than their utterances do."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import linalg

from steps.backend.scatter import SpeakerScatter, shrunk


@dataclass
class Lda:
    """A projection (E, D) that makes the within-speaker covariance the identity, best directions first."""

    projection: np.ndarray
    ratios: np.ndarray  # (D,): variance between speakers over variance within, descending

    @classmethod
    def fit(
        cls, vectors: np.ndarray, speakers: Sequence[str] | np.ndarray, dim: int, shrinkage: float | None = None
    ) -> "Lda":
        """From vectors (n, E) and their n speakers: maximises Fisher's ratio, speakers weighing by their utterances.

        S speakers differ in no more than S - 1 directions, so that `dim` is capped at min(E, S - 1), with a warning.
        The covariance within speakers is shrunk (`scatter.shrunk`), without which n < E utterances would have none to
        invert. A speaker with one utterance counts for the covariance between speakers only. Raises ValueError for
        fewer than two speakers and when no speaker has two utterances.
        """
        scatter = SpeakerScatter.of(vectors, speakers)
        most = min(vectors.shape[1], len(scatter.counts) - 1)
        if dim > most:
            size = f"{len(scatter.counts)} speakers in {vectors.shape[1]} dimensions"
            logging.warning(f"LDA to {most} dimensions, not {dim}: {size} allow no more")
        dim = min(dim, most)
        total = scatter.counts.sum()
        offsets = scatter.means - scatter.counts @ scatter.means / total
        between = offsets.T @ (offsets * scatter.counts[:, None]) / total
        within = shrunk(scatter.within / scatter.freedom, scatter.freedom, shrinkage)
        try:
            ratios, directions = linalg.eigh(between, within)
        except linalg.LinAlgError as error:
            raise ValueError(
                f"the covariance within speakers of {total} utterances in {vectors.shape[1]} dimensions "
                "has no inverse; allow it some shrinkage"
            ) from error
        return cls(directions[:, ::-1][:, :dim].copy(), ratios[::-1][:dim].copy())

    def transform(self, vectors: np.ndarray) -> np.ndarray:
        """(n, E) -> (n, D), in the type of `vectors`."""
        return vectors @ self.projection.astype(vectors.dtype)
