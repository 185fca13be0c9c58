"""How sure an error rate is: bootstrap intervals, and whether one system is better than another.

After Bisani and Ney, "Bootstrap estimates for confidence intervals in ASR performance evaluation" (ICASSP
2004): the test set is drawn again and again, with replacement, and the rate of each draw computed. What is
drawn are groups. Errors of one speaker go together, so that drawing utterances one by one gives intervals
that are too narrow; groups are speakers by default. Few speakers cannot say how much speakers differ, so
with fewer than FEWEST_SPEAKERS groups are utterances.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from steps.metrics.edit_distance import Scored, by_speaker

LEVEL = 0.95
FEWEST_SPEAKERS = 5
BLOCK = 4 << 20  # counts drawn at a time: the draws of 10,000 utterances do not fit in memory together


@dataclass
class Interval:
    """Bounds, in the unit of what was estimated, that hold with probability LEVEL."""

    low: float
    high: float


@dataclass
class Comparison:
    """System A against system B on the same utterances; rates in percent."""

    rate_a: float
    rate_b: float
    difference: Interval  # of rate_a - rate_b
    better: float  # probability that A has the lower rate, draws with equal rates counting half


def resampled_by(speakers: Mapping[str, str], by: str) -> str:
    """What is drawn, "speaker" or "utterance", when `by` is asked for; speakers by utterance."""
    return by if len(set(speakers.values())) >= FEWEST_SPEAKERS else "utterance"


def group_sums(scored: Sequence[Scored], by: str) -> np.ndarray:
    """(G, 2): errors and reference tokens of each group. `by` is "speaker" or "utterance"."""
    by = resampled_by({utterance.id: utterance.speaker for utterance in scored}, by)
    groups = list(by_speaker(scored).values()) if by == "speaker" else [[utterance] for utterance in scored]
    sums = [(sum(u.counts.total for u in group), sum(u.counts.tokens for u in group)) for group in groups]
    return np.array(sums, dtype=np.float64).reshape(-1, 2)


def interval(sums: np.ndarray, resamples: int, seed: int) -> Interval:
    """Of the error rate in percent; sums (G, 2) as `group_sums` gives them."""
    drawn = _draw(sums, resamples, seed)
    return _bounds(100.0 * _ratio(drawn[:, 0], drawn[:, 1]))


def compare(a: Sequence[Scored], b: Sequence[Scored], by: str, resamples: int, seed: int) -> Comparison:
    """Both systems on the same draws.

    Raises ValueError when they were not scored on the same utterances with the same references.
    """
    if [(u.id, u.speaker, u.ref, u.counts.tokens) for u in a] != [(u.id, u.speaker, u.ref, u.counts.tokens) for u in b]:
        raise ValueError("the two systems were not scored on the same utterances, references and units")
    sums = [group_sums(scored, by) for scored in (a, b)]
    drawn = _draw(np.column_stack([sums[0][:, 0], sums[1]]), resamples, seed)  # errors of A, errors of B, tokens
    rates = [100.0 * _ratio(drawn[:, column], drawn[:, 2]) for column in (0, 1)]
    difference = rates[0] - rates[1]
    better = float(np.mean(difference < 0) + 0.5 * np.mean(difference == 0))
    whole = [100.0 * part[:, 0].sum() / max(part[:, 1].sum(), 1.0) for part in sums]
    return Comparison(whole[0], whole[1], _bounds(difference), better)


def _draw(sums: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """(G, C) sums -> (resamples, C): sums over G groups drawn with replacement."""
    generator = np.random.default_rng(seed)
    size = len(sums)
    step = max(1, BLOCK // size)
    chances = np.full(size, 1.0 / size)
    blocks = [
        generator.multinomial(size, chances, size=min(step, resamples - start)) @ sums
        for start in range(0, resamples, step)
    ]
    return np.concatenate(blocks)


def _ratio(errors: np.ndarray, tokens: np.ndarray) -> np.ndarray:
    """Draws without any reference token say nothing and count as no error."""
    return np.divide(errors, tokens, out=np.zeros_like(errors), where=tokens > 0)


def _bounds(values: np.ndarray) -> Interval:
    low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(low), float(high))
