"""A whole back end: from embeddings of enrolments and tests to a matrix of scores.

Embeddings are centred, projected by LDA (or not), given length 1, and compared by cosine or PLDA; scores are then
normalised (or not). `config.CHAINS` names the combinations.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from steps.backend.config import CHAINS, NORMALISATIONS, BackendConfig
from steps.backend.lda import Lda
from steps.backend.normalisation import as_norm, cohort_statistics, s_norm
from steps.backend.plda import TwoCovariancePlda
from steps.backend.scatter import one_hot
from steps.inference.arrays import read_arrays

FORMAT = 1  # of the file


@dataclass
class Backend:
    """One chain, fitted. Scores of "cosine" and "lda" are cosines, those of PLDA natural-log likelihood ratios.

    Where a chain normalises, scores are the mean number of standard deviations above the cohort's.
    """

    name: str  # one of CHAINS
    mean: np.ndarray  # (E,)
    lda: Lda | None
    plda: TwoCovariancePlda | None
    cohort: np.ndarray  # (C, D) float32, each of length 1
    top_n: int

    @classmethod
    def fit(
        cls, name: str, train_vectors: np.ndarray, train_speakers: Sequence[str] | np.ndarray, config: BackendConfig
    ) -> "Backend":
        """The chain `name` of vectors (n, E) of whole utterances and the n training speakers they are of.

        The mean is that of the utterances. A cohort speaker is the mean of his vectors of length 1, given length 1
        again, and is scored as one utterance; where there are too many speakers or utterances of one, those kept are
        drawn by `config.seed`. LDA and PLDA are as their `fit` says: with one utterance of each speaker ValueError,
        with fewer than lda_dim + 1 speakers fewer dimensions. Cosine needs neither.

        Raises ValueError for an unknown name, and vectors that are not finite or of other shape.
        """
        compare, _ = _parts(name)
        train_vectors = _checked(train_vectors, "training embeddings")
        if len(train_vectors) < 2 or len(train_vectors) != len(train_speakers):
            raise ValueError(f"got {len(train_vectors)} training embeddings of {len(train_speakers)} speakers' names")
        backend = cls(name, train_vectors.mean(axis=0, dtype=np.float64), None, None, np.empty((0, 0)), config.top_n)
        if "lda" in compare.split("_"):
            centred = train_vectors - backend.mean.astype(np.float32)
            backend.lda = Lda.fit(centred, train_speakers, config.lda_dim, config.shrinkage)
        vectors = backend._embedded(train_vectors)
        if "plda" in compare.split("_"):
            backend.plda = TwoCovariancePlda.fit(vectors, train_speakers, config.plda_iterations, config.shrinkage)
        backend.cohort = _cohort(vectors, train_speakers, config)
        return backend

    def renamed(self, name: str) -> "Backend":
        """The chain that compares as this one and normalises as `name` says; nothing is fitted again."""
        if _parts(name)[0] != _parts(self.name)[0]:
            raise ValueError(f"{self.name} cannot become {name}, which compares otherwise; fit that one")
        return replace(self, name=name)

    def adapt(self, vectors: np.ndarray, config: BackendConfig) -> "Backend":
        """For the domain of unlabelled vectors (n, E): their mean, a cohort drawn from them, PLDA adapted to them."""
        vectors = _checked(vectors, "adaptation embeddings", len(self.mean))
        if len(vectors) < 2:
            raise ValueError(f"adaptation needs at least two embeddings, better thousands; got {len(vectors)}")
        adapted = replace(self, mean=vectors.mean(axis=0, dtype=np.float64))
        vectors = adapted._embedded(vectors)
        if self.plda is not None:
            adapted.plda = self.plda.adapt(vectors, config.across_scale, config.within_scale)
        adapted.cohort = _cohort(vectors, np.arange(len(vectors)), config)
        return adapted

    def score(self, enrol_vectors: Sequence[np.ndarray], tests: np.ndarray) -> np.ndarray:
        """(M, K) float32, of M models with embeddings (n_i, E) each, n_i >= 1, and tests (K, E).

        Several utterances of a model: cosine takes the mean of their vectors of length 1, given length 1 again;
        PLDA takes their mean and their number, which gives the ratio of the joint densities. An embedding that is
        the training mean has no direction: it stays the zero vector, whose cosines are 0. Raises ValueError that names
        the model for embeddings that are missing, not finite or of another size.
        """
        models, counts, tests = self._sides(enrol_vectors, tests)
        scores = self._compared(models, counts, tests)
        normalisation = _parts(self.name)[1]
        if not normalisation:
            return scores
        cohorts = self._cohort_scores(models, counts, tests)
        return s_norm(scores, *cohorts) if normalisation == "s_norm" else as_norm(scores, *cohorts, top_n=self.top_n)

    def cohort_means(self, enrol_vectors: Sequence[np.ndarray], tests: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(M,) and (K,): the mean of the `top_n` highest cohort scores of each model and test, a quality measure."""
        sides = self._cohort_scores(*self._sides(enrol_vectors, tests))
        models, tests = (cohort_statistics(side, self.top_n)[0] for side in sides)
        return models, tests

    def save(self, path: Path | str) -> None:
        """Writes one .npz of arrays (no pickle)."""
        arrays = {"format": np.array(FORMAT), "name": np.array(self.name), "top_n": np.array(self.top_n)}
        arrays |= {"mean": self.mean, "cohort": self.cohort}
        if self.lda is not None:
            arrays |= {"lda_projection": self.lda.projection, "lda_ratios": self.lda.ratios}
        if self.plda is not None:
            arrays |= {f"plda_{part}": getattr(self.plda, part) for part in ("mean", "within", "between")}
        with Path(path).open("wb") as stream:  # numpy would append .npz to a name
            np.savez(stream, **arrays)

    @classmethod
    def load(cls, path: Path | str) -> "Backend":
        """The inverse of `save`: scores are equal. Raises OSError, or ValueError for another kind of file."""
        try:
            found = read_arrays(path)
            name, form = str(found.pop("name")), int(found.pop("format"))
            if form != FORMAT or name not in CHAINS:
                raise ValueError(f"format {form}, chain '{name}'")
            parts = {kind: [found[key] for key in found if key.startswith(f"{kind}_")] for kind in ("lda", "plda")}
            lda = Lda(found["lda_projection"], found["lda_ratios"]) if parts["lda"] else None
            plda = None
            if parts["plda"]:
                plda = TwoCovariancePlda(found["plda_mean"], found["plda_within"], found["plda_between"])
            return cls(name, found["mean"], lda, plda, found["cohort"], int(found["top_n"]))
        except (KeyError, ValueError, TypeError) as error:
            raise ValueError(f"{path} holds no back end that this version reads ({error}); fit it again") from error

    def _sides(
        self, enrol_vectors: Sequence[np.ndarray], tests: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Models (M, D), of how many utterances (M,) each, and tests (K, D)."""
        counts = np.array([len(vectors) for vectors in enrol_vectors], dtype=np.int64)
        if not len(counts) or not counts.all():
            raise ValueError(f"model {int(np.argmin(counts)) if len(counts) else 0} has no enrolment embeddings")
        for number, vectors in enumerate(enrol_vectors):
            _checked(vectors, f"embeddings of model {number}", len(self.mean))
        vectors = self._embedded(np.concatenate([np.asarray(v, np.float32) for v in enrol_vectors]))
        starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
        models = np.add.reduceat(vectors, starts, axis=0) / counts[:, None].astype(np.float32)
        if self.plda is None:
            models = _unit(models)
        return models, counts, self._embedded(_checked(tests, "test embeddings", len(self.mean)))

    def _embedded(self, vectors: np.ndarray) -> np.ndarray:
        """(n, E) -> (n, D) float32 of length 1."""
        vectors = vectors - self.mean.astype(np.float32)
        return _unit(vectors if self.lda is None else self.lda.transform(vectors))

    def _compared(self, models: np.ndarray, counts: np.ndarray, tests: np.ndarray) -> np.ndarray:
        return models @ tests.T if self.plda is None else self.plda.score(models, counts, tests)

    def _cohort_scores(
        self, models: np.ndarray, counts: np.ndarray, tests: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """(M, C) and (K, C). As scores of one utterance with one are symmetric, tests may stand on either side."""
        return self._compared(models, counts, self.cohort), self._compared(
            tests, np.ones(len(tests), dtype=np.int64), self.cohort
        )


def _parts(name: str) -> tuple[str, str]:
    """("lda_plda", "as_norm") of "lda_plda_as_norm"; "" where scores stay as they are."""
    if name not in CHAINS:
        raise ValueError(f"unknown back end '{name}'; expected one of {', '.join(CHAINS)}")
    normalisation = max((norm for norm in NORMALISATIONS if name.endswith(norm)), key=len)
    return name.removesuffix(normalisation).rstrip("_"), normalisation


def _checked(vectors: np.ndarray, what: str, size: int | None = None) -> np.ndarray:
    """The vectors in float32."""
    vectors = np.asarray(vectors, dtype=np.float32)
    if vectors.ndim != 2 or (size is not None and vectors.shape[1] != size):
        raise ValueError(f"{what}: expected shape (n, {'E' if size is None else size}), got {vectors.shape}")
    finite = np.isfinite(vectors).all(axis=1)
    if not finite.all():
        raise ValueError(f"{what}: row {int(np.argmin(finite))} is not finite; extract the embeddings again")
    return vectors


def _unit(vectors: np.ndarray) -> np.ndarray:
    """Each row of length 1; a row of zeros stays."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(lengths > 0, lengths, 1)


def _cohort(vectors: np.ndarray, speakers: Sequence[str] | np.ndarray, config: BackendConfig) -> np.ndarray:
    """(C, D): a vector of length 1 for each speaker kept, of vectors (n, D) of length 1."""
    names, index = np.unique(np.asarray(speakers), return_inverse=True)
    generator = np.random.default_rng(config.seed)
    order = generator.permutation(len(index))
    if config.cohort_utterances:
        order = order[np.argsort(index[order], kind="stable")]
        starts = np.searchsorted(index[order], np.arange(len(names)))
        order = order[np.arange(len(order)) - starts[index[order]] < config.cohort_utterances]
    kept = generator.permutation(len(names))[: config.cohort_speakers or None]
    sums = one_hot(index[order], len(names)) @ vectors[order]
    return _unit(sums[np.sort(kept)]).astype(np.float32)
