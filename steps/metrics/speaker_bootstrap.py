"""How sure an EER or a minDCF is: bootstrap intervals over speakers.

Trials of one speaker are no independent draws, neither those of a model nor those of a test utterance, so that what is
drawn with replacement are speakers. If a was drawn w_a times and b w_b times, a non-target trial between them weighs
w_a w_b, since each copy of a meets each copy of b. The target trials of a weigh w_a: a copy has its own, and what one
copy's model and another's tests would be is not known. (Weights of w_a^2 would give intervals of the FRR sqrt(11) / 2 =
1.7 times too wide.)

Rates of a draw are taken at `bins` thresholds only, quantiles of the target scores. There they are exact; between
two neighbours the FRR rises by the weight of the target trials there, which bounds the error of both figures: the
minDCF is at most that too high (for priors up to 0.5), the EER at most that off. Undrawn, it is `resolution`, about
1 / bins; with no more distinct target scores than bins, the minDCF is exact.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from steps.metrics.bootstrap import FEWEST_SPEAKERS, LEVEL, Interval
from steps.metrics.verification import crossing, detection_cost


@dataclass(frozen=True)
class SpeakerIntervals:
    """Bounds at LEVEL of shares, not percent."""

    eer: Interval
    min_dcf: dict[float, Interval]  # by prior
    speakers: int  # that were drawn from
    resolution: float  # the largest share of target trials between neighbouring thresholds


@dataclass(frozen=True, eq=False)
class Counts:
    """Trials in each bin of scores; bin i starts at the i-th threshold, the first below all of them."""

    targets: np.ndarray  # (S, B)
    nontargets: np.ndarray  # (D, B), weighted by each draw


def speaker_intervals(
    scores: np.ndarray,
    labels: np.ndarray,
    model_speakers: Sequence[str],
    test_speakers: Sequence[str],
    priors: Sequence[float],
    resamples: int = 1000,
    bins: int = 512,
    seed: int = 0,
) -> SpeakerIntervals | None:
    """Of scores and labels (M, K) with the speaker of each model and each test utterance.

    None with target trials of fewer than FEWEST_SPEAKERS speakers, who cannot say how much speakers differ. Raises
    ValueError where shapes differ, or a label contradicts the speakers: then one of the two is misaligned.
    """
    shape = len(model_speakers), len(test_speakers)
    if not scores.shape == labels.shape == shape:
        raise ValueError(f"scores {scores.shape} and labels {labels.shape} of {shape[0]} models and {shape[1]} tests")
    numbers = {speaker: number for number, speaker in enumerate(sorted({*model_speakers, *test_speakers}))}
    models = np.array([numbers[speaker] for speaker in model_speakers])
    tests = np.array([numbers[speaker] for speaker in test_speakers])
    _check_labels(labels, models, tests, list(numbers))
    if len(np.unique(models[(labels == 1).any(axis=1)])) < FEWEST_SPEAKERS:
        return None
    targets = np.sort(scores[labels == 1])
    thresholds = np.unique(targets[np.linspace(0, len(targets) - 1, bins).round().astype(np.int64)])
    drawn = draw(len(numbers), resamples, seed)
    counts = count(scores, labels, models, tests, thresholds, drawn)
    far, frr = error_rates(counts, drawn)
    costs = {prior: detection_cost(far, frr, prior).min(axis=1) for prior in priors}
    resolution = counts.targets.sum(axis=0).max() / len(targets)
    return SpeakerIntervals(
        _bounds(equal_error_rates(far, frr)), {p: _bounds(c) for p, c in costs.items()}, len(numbers), float(resolution)
    )


def draw(speakers: int, resamples: int, seed: int) -> np.ndarray:
    """How often each speaker is drawn, (D, S) float32."""
    chances = np.full(speakers, 1 / speakers)
    return np.random.default_rng(seed).multinomial(speakers, chances, size=resamples).astype(np.float32)


def count(
    scores: np.ndarray,
    labels: np.ndarray,
    models: np.ndarray,
    tests: np.ndarray,
    thresholds: np.ndarray,
    drawn: np.ndarray,
) -> Counts:
    """Of scores and labels (M, K), speaker numbers (M,) and (K,), ascending thresholds (B - 1,) and draws (D, S)."""
    size = len(thresholds) + 1
    counts = Counts(np.zeros((drawn.shape[1], size)), np.zeros((len(drawn), size)))
    own, rows = np.unique(models, return_inverse=True)
    weights = np.ascontiguousarray(drawn[:, own])
    for speaker, columns in _by_speaker(tests):  # the pairs of all speakers at once would take gigabytes
        bins = np.searchsorted(thresholds, scores[:, columns], side="right")
        marks = labels[:, columns]
        counts.targets[speaker] = np.bincount(bins[marks == 1], minlength=size)
        cells = (rows[:, None] * size + bins)[marks == 0]
        pairs = np.bincount(cells, minlength=len(own) * size).reshape(-1, size).astype(np.float32)
        counts.nontargets[...] += (weights @ pairs) * drawn[:, speaker, None]
    return counts


def error_rates(counts: Counts, drawn: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """FAR and FRR (D', B) of each draw at the thresholds and above all; draws without trials of both kinds left out."""
    misses = np.cumsum(drawn.astype(np.float64) @ counts.targets, axis=1)
    rejected = np.cumsum(counts.nontargets, axis=1)
    usable = (misses[:, -1] > 0) & (rejected[:, -1] > 0)
    misses, rejected = misses[usable], rejected[usable]
    return (rejected[:, -1:] - rejected) / rejected[:, -1:], misses / misses[:, -1:]


def equal_error_rates(far: np.ndarray, frr: np.ndarray) -> np.ndarray:
    """(D,) EERs of (D, B) rates, thresholds ascending, on the line between neighbours as verification.eer has it."""
    last = np.count_nonzero(far >= frr, axis=1) - 1
    places = np.stack([last, last + 1], axis=1)
    return crossing(np.take_along_axis(far, places, axis=1), np.take_along_axis(frr, places, axis=1))


def _by_speaker(tests: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    order = np.argsort(tests, kind="stable")
    speakers, starts = np.unique(tests[order], return_index=True)
    yield from zip(speakers.tolist(), np.split(order, starts[1:]), strict=True)


def _check_labels(labels: np.ndarray, models: np.ndarray, tests: np.ndarray, names: list[str]) -> None:
    wrong = ((models[:, None] == tests) != (labels == 1)) & (labels >= 0)
    if wrong.any():
        row, column = np.argwhere(wrong)[0].tolist()
        raise ValueError(
            f"trial [{row}, {column}] is labelled {labels[row, column]}, but its model is of speaker "
            f"{names[models[row]]} and its test utterance of {names[tests[column]]}: trials or speakers are misaligned"
        )


def _bounds(values: np.ndarray) -> Interval:
    return Interval(*np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]).tolist())
