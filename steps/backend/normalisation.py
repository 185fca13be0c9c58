"""Score normalisation: how a score stands among the scores of other speakers, the cohort.

S-norm: Kenny, "Bayesian speaker verification with heavy-tailed priors" (Odyssey 2010). Adaptive: Matějka et al.,
"Analysis of score normalization in multilingual speaker recognition" (Interspeech 2017), the cohort's nearest
speakers chosen for the model and for the test each by themselves.
"""

import logging

import numpy as np

BLOCK = 1 << 17  # scores at a time, few enough for the processor's cache
LEAST = 1e-5  # a standard deviation below this share of the mean is rounding


def s_norm(scores: np.ndarray, enrol_cohort: np.ndarray, test_cohort: np.ndarray) -> np.ndarray:
    """(M, K) float32: the mean of z-norm and t-norm of scores (M, K).

    enrol_cohort (M, C): scores of each model against the cohort; test_cohort (K, C): of each test against it.
    Raises ValueError for shapes that do not fit and a cohort of fewer than two.
    """
    return _normalised(scores, enrol_cohort, test_cohort, None)


def as_norm(scores: np.ndarray, enrol_cohort: np.ndarray, test_cohort: np.ndarray, top_n: int = 300) -> np.ndarray:
    """`s_norm` with the `top_n` highest cohort scores of each model and of each test; of fewer, all, with a warning."""
    return _normalised(scores, enrol_cohort, test_cohort, top_n)


def cohort_statistics(scores: np.ndarray, top_n: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Means (R,) and standard deviations (R,) of each row's `top_n` highest scores (None: all) of scores (R, C).

    A row whose scores are all alike, as of an embedding without direction, says nothing about its spread: it gets the
    mean deviation of the other rows (1 without any), with a warning. Raises ValueError for fewer than two scores.
    """
    count = scores.shape[1] if top_n is None else min(top_n, scores.shape[1])
    if count < 2:
        raise ValueError(f"score normalisation needs two cohort scores or more, got {count}; use more cohort speakers")
    means, deviations = np.empty(len(scores)), np.empty(len(scores))
    step = max(1, BLOCK // scores.shape[1])
    for rows in (slice(start, start + step) for start in range(0, len(scores), step)):
        block = scores[rows]
        if count < block.shape[1]:
            block = np.partition(block, block.shape[1] - count, axis=1)[:, -count:]
        mean = block.mean(axis=1)
        centred = block - mean[:, None]
        means[rows], deviations[rows] = mean, np.sqrt(np.einsum("rc,rc->r", centred, centred) / count)
    flat = deviations <= LEAST * np.abs(means)
    if flat.any():
        logging.warning(f"{flat.sum()} of {len(flat)} rows have cohort scores without variance: taken from the others")
        deviations[flat] = deviations[~flat].mean() if not flat.all() else 1.0
    return means, deviations


def _normalised(scores: np.ndarray, enrol_cohort: np.ndarray, test_cohort: np.ndarray, top_n: int | None) -> np.ndarray:
    shapes = (scores.shape, enrol_cohort.shape, test_cohort.shape)
    flat = any(len(shape) != 2 for shape in shapes)
    if flat or (len(enrol_cohort), len(test_cohort)) != scores.shape or shapes[1][1] != shapes[2][1]:
        raise ValueError(f"expected scores (M, K) and cohort scores (M, C) and (K, C), got {shapes}")
    cohort = enrol_cohort.shape[1]
    if top_n is not None and top_n > cohort:
        logging.warning(f"the cohort has {cohort} speakers, fewer than top_n = {top_n}: all of them are used")
    sides = [cohort_statistics(side, top_n) for side in (enrol_cohort, test_cohort)]
    (slope_m, shift_m), (slope_k, shift_k) = ((0.5 / spread, 0.5 * mean / spread) for mean, spread in sides)
    slope_m, shift_m, slope_k, shift_k = (v.astype(np.float32) for v in (slope_m, shift_m, slope_k, shift_k))
    normalised = np.empty(scores.shape, np.float32)
    step = max(1, BLOCK // max(1, scores.shape[1]))
    for rows in (slice(start, start + step) for start in range(0, len(scores), step)):
        block = np.add(slope_m[rows, None], slope_k)
        block *= scores[rows]
        block -= shift_k
        np.subtract(block, shift_m[rows, None], out=normalised[rows])
    return normalised
