"""How sure a mean over mixtures is: the talkers, or pairs of talkers, are drawn again, and their mixtures with them.

Mixtures of the same two talkers are no independent draws: some voices are hard to tell apart. Pairs still share
talkers with other pairs, so that with few of them intervals are somewhat too narrow. Fewer than FEWEST_SPEAKERS groups
cannot say how much groups differ; then mixtures are drawn. The method is that of steps/metrics/bootstrap.py, for many
means at once.
"""

from collections.abc import Sequence

import numpy as np

from steps.metrics.bootstrap import BLOCK, FEWEST_SPEAKERS, LEVEL


def resampled_by(groups: Sequence[str], by: str) -> str:
    """What is drawn where `by` ("speakers" or "mixture") is asked for; groups of talkers by mixture."""
    return by if len(set(groups)) >= FEWEST_SPEAKERS else "mixture"


def mean_intervals(
    groups: Sequence[str], sums: np.ndarray, counts: np.ndarray, resamples: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Bounds (M,) at LEVEL of M means sum / count of all rows; groups (R,) are drawn, sums and counts (R, M).

    Draws without any count of a mean say nothing of it. NaN where a mean has no count at all.
    """
    _, places = np.unique(np.asarray(groups), return_inverse=True)
    size, width = int(places.max()) + 1, sums.shape[1]
    totals = np.zeros((size, 2 * width))
    np.add.at(totals, places, np.concatenate([sums, counts], axis=1))
    generator, chances = np.random.default_rng(seed), np.full(size, 1.0 / size)
    step = max(1, BLOCK // size)
    drawn = np.concatenate(
        [
            generator.multinomial(size, chances, size=min(step, resamples - start)) @ totals
            for start in range(0, resamples, step)
        ]
    )
    means = np.full((resamples, width), np.nan)
    np.divide(drawn[:, :width], drawn[:, width:], out=means, where=drawn[:, width:] > 0)
    bounds = np.full((2, width), np.nan)
    known = np.isfinite(means).any(axis=0)
    bounds[:, known] = np.nanquantile(means[:, known], [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    return bounds[0], bounds[1]
