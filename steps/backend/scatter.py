"""What LDA and PLDA need of labelled embeddings: each speaker's mean, and how utterances lie around it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import sparse

BLOCK = 1 << 16  # vectors in double precision at a time


@dataclass
class SpeakerScatter:
    """Sufficient statistics of vectors (n, E) of S speakers, in double precision."""

    counts: np.ndarray  # (S,) utterances
    means: np.ndarray  # (S, E), in the order of the sorted names
    within: np.ndarray  # (E, E): sum over utterances of the outer product of vector - mean of its speaker

    @classmethod
    def of(cls, vectors: np.ndarray, speakers: Sequence[str] | np.ndarray) -> "SpeakerScatter":
        """Of vectors (n, E) and the n speakers they are of.

        Raises ValueError for fewer than two speakers, and when none of them has two utterances: then nothing
        says how utterances of one speaker differ. A speaker with one utterance counts for the differences
        between speakers only.
        """
        names, index = np.unique(np.asarray(speakers), return_inverse=True)
        if vectors.ndim != 2 or len(index) != len(vectors):
            raise ValueError(f"expected vectors (n, E) with n speakers, got {vectors.shape} and {len(index)}")
        if not len(names) < len(vectors) or len(names) < 2:
            raise ValueError(
                f"LDA and PLDA need two speakers and a speaker with two utterances, got {len(vectors)} utterances of "
                f"{len(names)} speakers; score these with cosine, or add utterances"
            )
        sums = np.zeros((len(names), vectors.shape[1]))
        for rows in _blocks(len(vectors)):
            sums += one_hot(index[rows], len(names)) @ vectors[rows].astype(np.float64)
        counts = np.bincount(index)
        means = sums / counts[:, None]
        within = np.zeros((vectors.shape[1],) * 2)
        for rows in _blocks(len(vectors)):
            residuals = vectors[rows] - means[index[rows]]
            within += residuals.T @ residuals
        if not np.trace(within) > 0:
            raise ValueError("the utterances of each speaker have equal embeddings; expected different recordings")
        return cls(counts, means, within)

    @property
    def freedom(self) -> int:
        """Degrees of freedom of `within`: utterances less speakers."""
        return int(self.counts.sum() - len(self.counts))


def one_hot(index: np.ndarray, rows: int) -> sparse.csr_array:
    """(rows, n) with a one at (index[i], i): times (n, E), the sum of the vectors of each index."""
    columns = np.arange(len(index))
    return sparse.csr_array((np.ones(len(index)), (index, columns)), shape=(rows, len(index)))


def shrunk(covariance: np.ndarray, freedom: int, amount: float | None = None) -> np.ndarray:
    """(1 - amount) covariance + amount * (its mean variance) * identity; symmetric (E, E), regular for amount > 0.

    `amount` None: as `oracle_shrinkage` says.
    """
    amount = oracle_shrinkage(covariance, freedom) if amount is None else amount
    return (1 - amount) * covariance + amount * np.trace(covariance) / len(covariance) * np.eye(len(covariance))


def oracle_shrinkage(covariance: np.ndarray, freedom: int) -> float:
    """The amount, 0 to 1, that brings a sample covariance (E, E) nearest to the true one, if vectors are normal.

    Oracle approximating shrinkage (Chen, Wiesel, Eldar and Hero, "Shrinkage algorithms for MMSE covariance
    estimation", 2010, eq. 23). It vanishes as 1 / freedom, and is near 1 with a few utterances in many dimensions.
    """
    size = len(covariance)
    squares, trace = float(np.sum(covariance**2)), float(np.trace(covariance))
    above = (1 - 2 / size) * squares + trace**2
    below = (freedom + 1 - 2 / size) * (squares - trace**2 / size)
    return min(1.0, above / below) if below > 0 else 1.0


def _blocks(size: int) -> list[slice]:
    return [slice(start, start + BLOCK) for start in range(0, size, BLOCK)]
