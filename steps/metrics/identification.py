"""Open-set identification: whose voice is it, if it is anybody's in the gallery?

A gallery of N models is searched for each test utterance; the best score is accepted from a threshold on. FPIR is the
share of unknown speakers' utterances that are accepted as anybody; DIR, at that threshold, the share of known speakers'
utterances that are accepted and named rightly; rank-1 the share of these named rightly when nothing is rejected
(Phillips, Grother and Micheals, "Evaluation methods in face recognition", 2005). The more models, the higher the best
of the wrong scores: FPIR(N) = 1 - (1 - FAR)^N for independent ones, so that N belongs beside every figure.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np

from steps.metrics.verification import threshold_at_far


@dataclass(frozen=True)
class Fold:
    """Model speakers in the order in which they enter the gallery, and those that never do."""

    known: list[str]
    unknown: list[str]


@dataclass(frozen=True)
class OpenSet:
    """A gallery size over all folds. `rank1` and `dir` hold a share for each fold."""

    gallery: int
    known_tests: float  # utterances of gallery speakers, mean over folds
    unknown_tests: float
    rank1: list[float]
    dir: dict[float, list[float] | None]  # by FPIR; None where a fold's unknown tests are too few for it to be met

    def mean(self, fpir: float) -> float | None:
        """DIR at that FPIR, mean over folds."""
        values = self.dir[fpir]
        return None if values is None else fmean(values)

    @property
    def mean_rank1(self) -> float:
        """Mean over folds."""
        return fmean(self.rank1)


def make_folds(speakers: Sequence[str], folds: int, unknown_share: float, seed: int) -> list[Fold]:
    """Splits the speakers that have models into known and unknown ones, drawn by (seed, fold).

    Raises ValueError for fewer than two speakers known, or none unknown: such a protocol tests nothing.
    """
    names = sorted(set(speakers))
    unknown = round(unknown_share * len(names))
    if unknown < 1 or len(names) - unknown < 2 or folds < 1:
        raise ValueError(
            f"{folds} folds of {len(names)} speakers, {unknown} of them unknown: open-set identification needs a fold, "
            "at least two known speakers and an unknown one"
        )
    drawn = []
    for fold in range(folds):
        order = random.Random(f"{seed} {fold}").sample(names, len(names))
        drawn.append(Fold(order[unknown:], order[:unknown]))
    return drawn


def open_set(
    scores: np.ndarray,
    model_speakers: Sequence[str],
    test_speakers: Sequence[str],
    folds: Sequence[Fold],
    gallery_sizes: Sequence[int],
    fpirs: Sequence[float],
) -> list[OpenSet]:
    """From scores (M, K), by gallery size, ascending.

    Sizes above the number of known speakers are left out and that number is added; galleries grow by adding speakers,
    while the unknown ones stay the same: those of the fold, and all test speakers who have no model. Tests of a known
    speaker outside the gallery are not used. Raises ValueError for wrong shapes, a speaker with two models, and a fold
    without test utterances of both kinds.
    """
    if scores.shape != (len(model_speakers), len(test_speakers)):
        raise ValueError(f"scores {scores.shape}: {len(model_speakers)} models, {len(test_speakers)} test utterances")
    rows = {speaker: row for row, speaker in enumerate(model_speakers)}
    if len(rows) < len(model_speakers):
        twice = next(speaker for row, speaker in enumerate(model_speakers) if rows[speaker] != row)
        raise ValueError(f"speaker {twice} has several models: a gallery has one of each; average them before")
    models = np.array([rows.get(speaker, -1) for speaker in test_speakers])  # of each test utterance's speaker
    most = min(len(fold.known) for fold in folds)
    sizes = sorted({size for size in gallery_sizes if 1 < size < most} | {most})
    return [_measure(scores, rows, models, folds, size, fpirs) for size in sizes]


def _measure(
    scores: np.ndarray,
    rows: dict[str, int],
    models: np.ndarray,
    folds: Sequence[Fold],
    size: int,
    fpirs: Sequence[float],
) -> OpenSet:
    """Of one gallery size."""
    counts, rank1 = [], []
    rates: dict[float, list[float] | None] = {fpir: [] for fpir in fpirs}
    for number, fold in enumerate(folds):
        gallery = np.array([rows[speaker] for speaker in fold.known[:size]])
        outside = np.isin(models, [rows[speaker] for speaker in fold.unknown]) | (models < 0)
        inside = np.isin(models, gallery)
        if not outside.any() or not inside.any():
            raise ValueError(
                f"fold {number}: no test utterance of {'an unknown' if inside.any() else 'a known'} speaker"
            )
        impostors = np.sort(scores[np.ix_(gallery, outside)].max(axis=0))
        known = scores[np.ix_(gallery, inside)]
        right = known.max(axis=0)[gallery[known.argmax(axis=0)] == models[inside]]
        counts.append((int(inside.sum()), len(impostors)))
        rank1.append(len(right) / counts[-1][0])
        for fpir in fpirs:
            values = rates[fpir]
            if fpir * len(impostors) < 1 or values is None:
                rates[fpir] = None
            else:
                accepted = np.count_nonzero(right >= threshold_at_far(impostors, fpir))
                values.append(accepted / counts[-1][0])
    return OpenSet(size, fmean(known for known, _ in counts), fmean(unknown for _, unknown in counts), rank1, rates)
