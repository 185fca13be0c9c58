"""How near separated talkers are to their references: SI-SDR, which output is whom, and what leaks. numpy, float64.

Every measure answers with a `Score`. Where it is not defined its value is None and its reason says why: a NaN, or a
number that stands for one, would end up in a mean.
"""

from typing import NamedTuple

import numpy as np
from scipy.optimize import linear_sum_assignment

LIMIT = 100.0  # dB; the exact signal has no SI-SDR, and one that is 100 dB off differs in 16 bits by nothing
SILENCE = 1e-7  # a step of 24 bits: a signal that moves no further is silent, whatever its offset
FEWEST_FRAMES = 5  # that a level is taken of

SILENT_REFERENCE, SILENT_ESTIMATE = "silent reference", "silent output"


class Score(NamedTuple):
    """A measured value, or None and the reason."""

    value: float | None
    reason: str = ""


def si_sdr(estimate: np.ndarray, reference: np.ndarray, zero_mean: bool = True) -> Score:
    """Scale-invariant SDR in dB, within LIMIT, of signals (T,). Le Roux et al. 2019 (arXiv:1811.02508), equation 5.

    Means are subtracted by default, as by asteroid's losses and in the paper's definition; an offset, which nobody
    hears, otherwise counts as distortion.
    """
    silent = silence(estimate, reference)
    if silent:
        return Score(None, silent)
    estimate, reference = np.asarray(estimate, np.float64), np.asarray(reference, np.float64)
    if zero_mean:
        estimate, reference = estimate - estimate.mean(), reference - reference.mean()
    target = (estimate @ reference / (reference @ reference)) * reference
    distortion = estimate - target
    return Score(decibels(float(target @ target), float(distortion @ distortion)))


def best_permutation(estimates: np.ndarray, references: np.ndarray, zero_mean: bool = True) -> tuple[int, ...]:
    """For each of S references (S, T) the number of its estimate (S, T): the highest sum of SI-SDR.

    Silent references and outputs fit each other and nothing else.
    """
    assert estimates.shape == references.shape, f"{estimates.shape} estimates of {references.shape} references"
    scores = [[si_sdr(estimate, reference, zero_mean).value for estimate in estimates] for reference in references]
    # A constant for a whole row or column does not change which permutation is best.
    values = np.array([[0.0 if score is None else score for score in row] for row in scores])
    _, columns = linear_sum_assignment(values, maximize=True)
    return tuple(columns.tolist())


def leak(estimate: np.ndarray, references: np.ndarray, source: int, frame: int, below: float) -> Score:
    """dB of an output where its talker is silent and another one speaks, relative to where its talker speaks.

    Mean powers of estimate (T,) over frames of `frame` samples; `source` is its row in references (S, T), and a
    talker speaks in frames at most `below` (negative dB) under the loudest of the reference. 0 dB and more for a
    mixture of equally loud talkers, -LIMIT at least.
    """
    speaks = np.stack([activity(reference, frame, below) for reference in references])  # (S, K)
    own, others = speaks[source], np.delete(speaks, source, axis=0).any(axis=0)
    alone = ~own & others
    if own.sum() < FEWEST_FRAMES:
        return Score(None, SILENT_REFERENCE)
    if alone.sum() < FEWEST_FRAMES:
        return Score(None, "others never speak alone")
    power = frame_power(estimate, frame)
    if power[own].mean() <= SILENCE**2:
        return Score(None, SILENT_ESTIMATE)
    return Score(decibels(float(power[alone].mean()), float(power[own].mean())))


def activity(reference: np.ndarray, frame: int, below: float) -> np.ndarray:
    """(T,) -> (K,): whether the talker speaks in each whole frame."""
    power = frame_power(reference, frame)
    least = max(float(power.max(initial=0.0)) * 10 ** (below / 10), SILENCE**2)
    return power > least


def frame_power(wave: np.ndarray, frame: int) -> np.ndarray:
    """(T,) -> (K,): mean square of each whole frame of `frame` samples."""
    whole = len(wave) // frame
    frames = np.asarray(wave[: whole * frame], np.float64).reshape(whole, frame)
    return np.square(frames).mean(axis=1)


def silence(estimate: np.ndarray, reference: np.ndarray) -> str:
    """The reason why nothing can be measured of signals (T,), one of which does not move; empty if both do."""
    if is_silent(reference):
        return SILENT_REFERENCE
    return SILENT_ESTIMATE if is_silent(estimate) else ""


def is_silent(wave: np.ndarray) -> bool:
    """Whether (T,) stays at one value."""
    return len(wave) == 0 or bool(np.ptp(wave) <= SILENCE)


def decibels(upper: float, lower: float) -> float:
    """10 log10 of a ratio of powers, within LIMIT."""
    if upper <= 0 or lower <= 0:
        return LIMIT if upper > lower else -LIMIT
    return float(np.clip(10 * (np.log10(upper) - np.log10(lower)), -LIMIT, LIMIT))
