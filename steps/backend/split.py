"""Trials of a split together with the embeddings that they compare, each found by name."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from steps.backend.embeddings import Embeddings, read_embeddings
from steps.metrics.trials import Enrolments, Trials, model_speakers, read_enrolments

TRIALS, ENROLMENTS, JOINED = "trials.npz", "enrolments.txt", "joined.txt"  # what steps.prepare_trials writes


@dataclass
class Split:
    """Models and tests in the order of the trials' rows and columns. Raises ValueError naming what is missing."""

    name: str
    trials: Trials
    enrolments: Enrolments
    utterances: Embeddings
    joined: Embeddings  # of each model's utterances end to end

    def __post_init__(self) -> None:
        speakers = dict(zip(self.utterances.ids, self.utterances.speakers, strict=True))
        owners = model_speakers({model: self.enrolments[model] for model in self.trials.models}, speakers)
        self.tests = self.utterances.of(self.trials.tests)  # (K, E)
        self.model_speakers = [owners[model] for model in self.trials.models]
        self.test_speakers = [speakers[test] for test in self.trials.tests]

    def averaged(self) -> list[np.ndarray]:
        """For each model the embeddings (n_i, E) of its utterances."""
        return [self.utterances.of(self.enrolments[model]) for model in self.trials.models]

    def concatenated(self) -> list[np.ndarray]:
        """For each model the one embedding (1, E) of its utterances end to end."""
        return list(self.joined.of(self.trials.models)[:, None])

    def enrolled_seconds(self) -> np.ndarray:
        """(M,): seconds of speech behind each model."""
        rows = [self.utterances.rows(self.enrolments[model]) for model in self.trials.models]
        return np.array([self.utterances.seconds[row].sum() for row in rows])

    def test_seconds(self) -> np.ndarray:
        """(K,)"""
        return self.utterances.seconds[self.utterances.rows(self.trials.tests)]


def read_split(exp: Path, name: str) -> Split:
    """What stages 3 and 6 made of a split."""
    folder = exp / f"trials_{name}"
    embeddings = exp / f"embeddings_{name}"
    return Split(
        name,
        Trials.load(folder / TRIALS),
        read_enrolments(folder / ENROLMENTS),
        read_embeddings(embeddings),
        read_embeddings(embeddings, "models"),
    )


def read_excerpts(exp: Path, name: str, seconds: Sequence[float]) -> dict[float, tuple[Embeddings, Embeddings]]:
    """By seconds: embeddings of excerpts of the utterances, and of the models' joined utterances."""
    folder = exp / f"embeddings_{name}"
    return {
        length: (read_embeddings(folder, f"utterances_{length:g}"), read_embeddings(folder, f"models_{length:g}"))
        for length in seconds
    }
