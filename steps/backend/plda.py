"""Two-covariance PLDA: a speaker is a point, an utterance lies around it, both normally distributed.

y ~ N(mean, between), x | y ~ N(y, within): Brümmer and de Villiers, "The speaker partitioning problem" (2010), the
same model as Ioffe, "Probabilistic linear discriminant analysis" (2006), whose basis, in which `within` is the
identity and `between` is diagonal, makes scores and the steps of EM cheap.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy import linalg

from steps.backend.scatter import SpeakerScatter, oracle_shrinkage

BLOCK = 1 << 11  # tests at a time, few enough for the processor's cache


@dataclass
class _Prior:
    """What a covariance is before any data: a multiple of the identity."""

    amount: float  # 0 to 1, its weight against the data's
    variance: float

    @classmethod
    def of(cls, moment: np.ndarray, trace: float, freedom: int, amount: float | None) -> "_Prior":
        amount = oracle_shrinkage(moment, freedom) if amount is None else amount
        return cls(amount, float(trace) / len(moment))

    def joined(self, covariance: np.ndarray) -> np.ndarray:
        return (1 - self.amount) * covariance + self.amount * self.variance * np.eye(len(covariance))


@dataclass
class TwoCovariancePlda:
    """The model of vectors (n, E), in double precision."""

    mean: np.ndarray  # (E,)
    within: np.ndarray  # (E, E), regular
    between: np.ndarray  # (E, E), may be singular
    basis: np.ndarray = field(init=False)  # (E, D = E): basis' within basis = 1, basis' between basis = diag(ratios)
    ratios: np.ndarray = field(init=False)  # (D,), descending, not negative

    def __post_init__(self) -> None:
        self.within, self.between = (0.5 * (matrix + matrix.T) for matrix in (self.within, self.between))
        try:
            ratios, basis = linalg.eigh(self.between, self.within)
        except linalg.LinAlgError as error:
            raise ValueError(
                f"the covariance within speakers in {len(self.mean)} dimensions has no inverse; "
                "use more utterances, LDA to fewer dimensions, or some shrinkage"
            ) from error
        self.ratios, self.basis = np.maximum(ratios[::-1], 0.0), basis[:, ::-1].copy()

    @classmethod
    def fit(
        cls,
        vectors: np.ndarray,
        speakers: Sequence[str] | np.ndarray,
        iterations: int = 10,
        shrinkage: float | None = None,
    ) -> "TwoCovariancePlda":
        """By EM from moments; vectors (n, E), n speakers, each with any number of utterances.

        `shrinkage` draws both covariances towards multiples of the identity (None: each by `scatter.oracle_shrinkage`,
        which vanishes with many utterances and many speakers; without it S < E speakers would differ in S - 1
        dimensions only). It acts as inverse Wishart priors, so that each iteration increases the likelihood times
        these, or the likelihood where it is 0. Raises ValueError for fewer than two speakers and when no
        speaker has two utterances.
        """
        scatter = SpeakerScatter.of(vectors, speakers)
        mean = scatter.means.mean(axis=0)
        offsets = scatter.means - mean
        within = scatter.within / scatter.freedom
        between = offsets.T @ offsets / len(offsets)
        noise = float(np.mean(1 / scatter.counts)) * np.trace(within)  # what utterances add to the spread of means
        priors = (
            _Prior.of(within, np.trace(within), scatter.freedom, shrinkage),
            _Prior.of(between, max(np.trace(between) - noise, 0.0), len(offsets) - 1, shrinkage),
        )
        model = cls(mean, priors[0].joined(within), priors[1].joined(between))
        for _ in range(iterations):
            model = model._improved(scatter, *priors)
        return model

    def _improved(self, scatter: SpeakerScatter, of_within: "_Prior", of_between: "_Prior") -> "TwoCovariancePlda":
        """One iteration of EM. In the basis, dimensions are independent given the data."""
        counts = scatter.counts[:, None]
        means = (scatter.means - self.mean) @ self.basis
        variances = self.ratios / (1 + counts * self.ratios)  # (S, D), of each speaker's point given the utterances
        points = counts * variances * means
        shift = points.mean(axis=0)
        between = (points - shift).T @ (points - shift) + np.diag(variances.sum(axis=0))
        around = means - points
        within = self.basis.T @ scatter.within @ self.basis
        within += around.T @ (counts * around) + np.diag((counts * variances).sum(axis=0))
        back = self.within @ self.basis  # the inverse of basis'
        return TwoCovariancePlda(
            self.mean + back @ shift,
            of_within.joined(back @ within @ back.T / scatter.counts.sum()),
            of_between.joined(back @ between @ back.T / len(counts)),
        )

    def log_likelihood(self, vectors: np.ndarray, speakers: Sequence[str] | np.ndarray) -> float:
        """Natural log of the joint density of vectors (n, E), speakers being independent of each other."""
        scatter = SpeakerScatter.of(vectors, speakers)
        counts = scatter.counts[:, None]
        means = (scatter.means - self.mean) @ self.basis
        spread = self.ratios + 1 / counts  # (S, D), variance of a speaker's mean
        determinant = 2 * np.linalg.slogdet(self.basis)[1]  # of the inverse of `within`
        around = np.sum(self.basis * (scatter.within @ self.basis))
        total = np.sum(np.log(spread) + means**2 / spread) + around + len(self.mean) * np.log(counts).sum()
        return 0.5 * float(scatter.counts.sum() * (determinant - len(self.mean) * np.log(2 * np.pi)) - total)

    def adapt(
        self,
        vectors: np.ndarray,
        across_scale: float = 0.25,
        within_scale: float = 0.75,
        shift_scale: float = 1.0,
    ) -> "TwoCovariancePlda":
        """A model for the domain of unlabelled vectors (n, E).

        The mean becomes theirs. Where their covariance, with `shift_scale` times the outer product of the mean's
        shift, is more than this model's between + within, the excess is shared out to both covariances by the two
        scales (as Kaldi's `ivector-adapt-plda` does). Raises ValueError for fewer than two vectors.
        """
        if len(vectors) < 2:
            raise ValueError(f"adaptation needs at least two vectors, better thousands; got {len(vectors)}")
        vectors = vectors.astype(np.float64)
        mean = vectors.mean(axis=0)
        shift = mean - self.mean
        covariance = np.cov(vectors, rowvar=False, bias=True).reshape(self.within.shape)
        model = self.between + self.within
        variances, directions = linalg.eigh(covariance + shift_scale * np.outer(shift, shift), model)
        back = model @ directions
        excess = back * np.maximum(variances - 1, 0) @ back.T
        return TwoCovariancePlda(mean, self.within + within_scale * excess, self.between + across_scale * excess)

    def score(self, enrol_means: np.ndarray, counts: np.ndarray, tests: np.ndarray) -> np.ndarray:
        """(M, K) float32: natural log of p(test | same speaker as the enrolment) / p(test).

        enrol_means (M, E): mean of the utterances of each model, of which there are counts (M,) >= 1, each of
        them a draw of the speaker (by the book, not one utterance of less noise). tests (K, E). Equal to the ratio
        of joint densities of all enrolment utterances and the test.

        All of it is one product of matrices: a model is (its weights, its constant, one 1 among the G different
        counts), a test is (itself, 1, its constant for each of these counts).
        """
        counts = np.asarray(counts)
        if len(counts) != len(enrol_means) or np.any(counts < 1):
            raise ValueError(f"expected {len(enrol_means)} counts of utterances of 1 or more, got {counts}")
        models = self._projected(enrol_means)
        different, group = np.unique(counts, return_inverse=True)
        gains = different[:, None] * self.ratios / (1 + different[:, None] * self.ratios)  # (G, D)
        variances = 1 + self.ratios / (1 + different[:, None] * self.ratios)
        total = 1 + self.ratios
        constants = 0.5 * np.sum(np.log(total / variances), axis=1)[group]
        constants -= 0.5 * np.sum(models.astype(np.float64) ** 2 * (gains**2 / variances)[group], axis=1)
        weights = models * (gains / variances)[group]
        left = np.column_stack([weights, constants, np.eye(len(different))[group]]).astype(np.float32)
        alone = (0.5 / total - 0.5 / variances).T.astype(np.float32)  # (D, G)
        scores = np.empty((len(models), len(tests)), np.float32)
        for start in range(0, len(tests), BLOCK):
            block = self._projected(tests[start : start + BLOCK])
            right = np.column_stack([block, np.ones(len(block), np.float32), block**2 @ alone])
            np.matmul(left, right.T, out=scores[:, start : start + BLOCK])
        return scores

    def _projected(self, vectors: np.ndarray) -> np.ndarray:
        """(n, E) -> (n, D) float32, centred."""
        return (vectors - self.mean.astype(vectors.dtype)).astype(np.float32, copy=False) @ self.basis.astype(
            np.float32
        )
