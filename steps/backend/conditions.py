"""Where a system fails: by seconds of speech, by condition of the recordings, against a growing gallery."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from steps.backend.chain import Backend
from steps.backend.embeddings import Embeddings
from steps.backend.split import Split
from steps.metrics import identification
from steps.metrics.config import VerificationConfig
from steps.metrics.verification import eer, error_curve


def duration_matrix(
    backend: Backend, split: Split, excerpts: Mapping[float, tuple[Embeddings, Embeddings]]
) -> dict[str, Any]:
    """Equal error rates in percent: {"seconds": [.., null for whole], "eer": rows by enrolment, columns by test}.

    An enrolment is an excerpt of the model's utterances end to end; what is shorter than asked for stays whole.
    """
    sides = {seconds: (models, tests) for seconds, (tests, models) in excerpts.items()}
    lengths: list[float | None] = [*sorted(sides), None]

    def vectors(seconds: float | None) -> tuple[list[np.ndarray], np.ndarray]:
        models, tests = (split.joined, split.utterances) if seconds is None else sides[seconds]
        return list(models.of(split.trials.models)[:, None]), tests.of(split.trials.tests)

    found = {seconds: vectors(seconds) for seconds in lengths}
    rates = [
        [_rate(backend.score(found[row][0], found[column][1]), split.trials.labels) for column in lengths]
        for row in lengths
    ]
    return {"seconds": lengths, "eer": rates}


def genre_matrix(scores: np.ndarray, split: Split, genres: Mapping[str, str]) -> dict[str, Any] | None:
    """Equal error rates in percent by genre of enrolment and test: {"enrolment", "test", "eer", "targets"}.

    A model's genre is that of its first utterance. None where no utterance has one; a cell without trials of both
    kinds is null. A last row and column hold all.
    """
    models = np.array([genres.get(split.enrolments[model][0], "") for model in split.trials.models])
    tests = np.array([genres.get(test, "") for test in split.trials.tests])
    if not any(models) and not any(tests):
        return None
    rows, columns = ([*sorted(set(names.tolist())), None] for names in (models, tests))
    cells = [[_cell(scores, split.trials.labels, models, tests, row, column) for column in columns] for row in rows]
    return {
        "enrolment": rows,
        "test": columns,
        "eer": [[rate for rate, _ in row] for row in cells],
        "targets": [[targets for _, targets in row] for row in cells],
    }


def open_set(scores: np.ndarray, split: Split, config: VerificationConfig, seed: int) -> list[dict[str, Any]]:
    """Open-set identification by size of the gallery: [{"gallery", "rank1", "dir": {fpir: share}, ...}], in percent.

    Empty where the split has too few speakers for a gallery and unknown voices.
    """
    if len(set(split.model_speakers)) != len(split.model_speakers) or len(split.model_speakers) < 4:
        return []
    folds = identification.make_folds(split.model_speakers, config.folds, config.unknown_share, seed)
    sizes = identification.open_set(
        scores, split.model_speakers, split.test_speakers, folds, config.gallery_sizes, config.fpirs
    )
    return [
        {
            "gallery": size.gallery,
            "known_tests": size.known_tests,
            "unknown_tests": size.unknown_tests,
            "rank1": round(100 * size.mean_rank1, 3),
            "dir": {f"{fpir:g}": _percent(size.mean(fpir)) for fpir in config.fpirs},
        }
        for size in sizes
    ]


def _percent(share: float | None) -> float | None:
    return None if share is None else round(100 * share, 3)


def _rate(scores: np.ndarray, labels: np.ndarray) -> float:
    return round(100 * eer(error_curve(scores, labels)).value, 3)


def _cell(
    scores: np.ndarray, labels: np.ndarray, models: np.ndarray, tests: np.ndarray, row: str | None, column: str | None
) -> tuple[float | None, int]:
    """The rate of one cell, and how many target trials it has."""
    rows = np.flatnonzero(models == row) if row is not None else np.arange(len(models))
    columns = np.flatnonzero(tests == column) if column is not None else np.arange(len(tests))
    marks = labels[np.ix_(rows, columns)]
    targets = int((marks == 1).sum())
    if not targets or not (marks == 0).any():
        return None, targets
    return _rate(scores[np.ix_(rows, columns)], marks), targets
