"""Speaker verification: what a system gets wrong when it accepts every trial that scores at least a threshold.

FAR(t) is the share of non-target trials with score >= t, FRR(t) the share of target trials with score < t. All else
follows from these two. Scores are sorted once; FAR + FRR and every cost with it is least at a target trial's score or
above all scores, so that costs need one threshold a target trial, however many non-target trials there are.
"""

from bisect import bisect_left
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.stats import norm
from sklearn.isotonic import isotonic_regression

EDGE = 5.0  # standard deviations; where rates of 0 and 1 lie when points are chosen for a DET plot


@dataclass(frozen=True)
class Rate:
    """A value and the threshold where it is reached; infinite where accepting no trial at all is best."""

    value: float
    threshold: float


@dataclass(frozen=True, eq=False)
class Points:
    """Operating points, all (L,), thresholds ascending; the last accepts nothing and has an infinite threshold."""

    thresholds: np.ndarray
    far: np.ndarray
    frr: np.ndarray


@dataclass(frozen=True, eq=False)
class ErrorCurve:
    """FAR and FRR at any threshold. Scores ascend; `error_curve` makes one."""

    targets: np.ndarray  # (P,) float32 or float64
    nontargets: np.ndarray  # (Q,)

    def far(self, thresholds: np.ndarray | float) -> np.ndarray:
        """The share of non-target trials with score >= threshold, float64, in the thresholds' shape."""
        count = len(self.nontargets)
        return (count - _count_below(self.nontargets, thresholds)) / count

    def frr(self, thresholds: np.ndarray | float) -> np.ndarray:
        """The share of target trials with score < threshold, float64, in the thresholds' shape."""
        return _count_below(self.targets, thresholds) / len(self.targets)

    @cached_property
    def corners(self) -> Points:
        """At every distinct target score and above: for each FRR that can be had, the least FAR."""
        thresholds = np.append(np.unique(self.targets), np.array(np.inf, self.targets.dtype))
        return Points(thresholds, self.far(thresholds), self.frr(thresholds))


def error_curve(scores: np.ndarray, labels: np.ndarray) -> ErrorCurve:
    """Of scores and labels of one shape, (M, K) or any other: 1 target, 0 non-target, -1 no trial.

    Raises ValueError where the shapes differ, a kind of trial is missing, or a trial's score is NaN or infinite.
    """
    scores, labels = np.asarray(scores), np.asarray(labels)
    if scores.shape != labels.shape:
        raise ValueError(f"scores are {scores.shape}, labels {labels.shape}: they must be of the same trials")
    if scores.dtype not in (np.float32, np.float64):
        scores = scores.astype(np.float64)
    curve = ErrorCurve(scores[labels == 1], scores[labels == 0])
    for kind, values in (("target", curve.targets), ("non-target", curve.nontargets)):
        if not len(values):
            raise ValueError(f"no {kind} trial among {labels.size} labels: error rates need both kinds")
        values.sort()
        if not np.isfinite(values[[0, -1]]).all():  # NaN sorts last
            place = np.argwhere(~np.isfinite(scores) & (labels >= 0))[0].tolist()
            raise ValueError(f"the score at {place} is {scores[tuple(place)]}: every trial needs a finite score")
    return curve


def eer(curve: ErrorCurve) -> Rate:
    """The equal error rate: where FAR and FRR cross.

    Operating points exist at each distinct score and above all (trials of equal score are accepted together); as the
    threshold rises FAR falls and FRR rises. The EER is read off the straight line, in (FAR, FRR), from the last point
    with FAR >= FRR to the next one. Its threshold is that one of the two scores where |FAR - FRR| is less (the lower
    one when equal), and so a score that occurs.
    """
    kinds = (curve.targets, curve.nontargets)
    firsts = [(scores, _first_rejecting(curve, scores)) for scores in kinds]
    low = max(scores[first - 1] for scores, first in firsts if first)
    high = min((scores[first] for scores, first in firsts if first < len(scores)), default=low.dtype.type(np.inf))
    thresholds = np.array([low, high])
    far, frr = curve.far(thresholds), curve.frr(thresholds)
    return Rate(float(crossing(far, frr)), float(thresholds[np.argmin(np.abs(far - frr))]))


def crossing(far: np.ndarray, frr: np.ndarray) -> np.ndarray:
    """Where lines between two points (..., 2) meet FAR = FRR; the first has FAR >= FRR, the second FAR < FRR."""
    before, after = np.moveaxis(far - frr, -1, 0)
    return far[..., 0] + before / (before - after) * (far[..., 1] - far[..., 0])


def accuracy(curve: ErrorCurve) -> Rate:
    """1 - min(FAR + FRR), also known as Youden's J.

    It is the two-sample Kolmogorov-Smirnov statistic, the one-sided one: scores that are all wrong give 0.
    """
    total = curve.corners.far + curve.corners.frr
    best = int(np.argmin(total))
    return Rate(1.0 - float(total[best]), float(curve.corners.thresholds[best]))


def detection_cost(far: np.ndarray, frr: np.ndarray, prior: float) -> np.ndarray:
    """prior FRR + (1 - prior) FAR, over the cost min(prior, 1 - prior) of accepting all or none (NIST, C = 1)."""
    _check(prior)
    return (prior * frr + (1 - prior) * far) / min(prior, 1 - prior)


def min_dcf(curve: ErrorCurve, prior: float) -> Rate:
    """The least normalised detection cost over all thresholds, at most 1."""
    costs = detection_cost(curve.corners.far, curve.corners.frr, prior)
    best = int(np.argmin(costs))
    return Rate(float(costs[best]), float(curve.corners.thresholds[best]))


def bayes_threshold(prior: float) -> float:
    """log((1 - prior) / prior): the natural-log likelihood ratio from which accepting costs less than rejecting."""
    _check(prior)
    return float(np.log1p(-prior) - np.log(prior))


def act_dcf(curve: ErrorCurve, prior: float) -> Rate:
    """The normalised detection cost at Bayes' threshold log((1 - prior) / prior), scores being natural-log LLRs."""
    threshold = bayes_threshold(prior)
    return Rate(float(detection_cost(curve.far(threshold), curve.frr(threshold), prior)), threshold)


def cllr(curve: ErrorCurve) -> float:
    """Cost of scores as natural-log likelihood ratios, in bits; 1 for scores of 0 (Bruemmer and du Preez, 2006)."""
    misses = np.logaddexp(0, -curve.targets).mean(dtype=np.float64)
    return float(misses + np.logaddexp(0, curve.nontargets).mean(dtype=np.float64)) / (2 * np.log(2))


def min_cllr(curve: ErrorCurve) -> float:
    """Cllr after the best non-decreasing map of the scores, found by pooling adjacent violators.

    A run of trials of one kind always falls into one pool, so that those between two target scores go in as one.
    """
    scores, ties = np.unique(curve.targets, return_counts=True)
    left, right = (np.searchsorted(curve.nontargets, scores, side) for side in ("left", "right"))
    between = np.diff(np.concatenate([[0], np.column_stack([left, right]).ravel(), [len(curve.nontargets)]]))
    targets = np.zeros(len(between))  # below the first target score, at it, up to the next, ...
    targets[1::2] = ties
    kept = targets + between > 0
    targets, nontargets = targets[kept], between[kept].astype(np.float64)
    posterior = isotonic_regression(targets / (targets + nontargets), sample_weight=targets + nontargets)
    with np.errstate(divide="ignore"):  # pools of one kind alone: infinite ratios, which cost nothing
        llr = np.log(posterior) - np.log1p(-posterior) + np.log(len(curve.nontargets) / len(curve.targets))
    misses = (np.logaddexp(0, -llr[targets > 0]) * targets[targets > 0]).sum() / len(curve.targets)
    alarms = (np.logaddexp(0, llr[nontargets > 0]) * nontargets[nontargets > 0]).sum() / len(curve.nontargets)
    return float(misses + alarms) / (2 * np.log(2))


def threshold_at_far(nontargets: np.ndarray, far: float) -> float:
    """The least threshold with at most that share of scores (Q,), ascending, at or above it: just above one of them.

    It is minus infinity where `far` is 1. Raises ValueError for a share outside 0 to 1.
    """
    if not 0 <= far <= 1:
        raise ValueError(f"a false acceptance rate lies between 0 and 1, got {far}")
    allowed = int(far * len(nontargets) * (1 + 1e-12))  # 0.29 * 100 comes out as 28.999999999999996
    if allowed >= len(nontargets):
        return -np.inf
    return float(np.nextafter(nontargets[len(nontargets) - 1 - allowed], np.inf, dtype=nontargets.dtype))


def thin(curve: ErrorCurve, count: int = 500) -> Points:
    """At most `count` of the corners for plots, evenly spread along the DET curve; the first and last are kept."""
    corners = curve.corners
    places = np.stack([_probit(corners.far), _probit(corners.frr)])
    length = np.concatenate([[0.0], np.abs(np.diff(places)).sum(axis=0).cumsum()])
    chosen = np.searchsorted(length, np.linspace(0, length[-1], count))
    chosen = np.unique(np.concatenate([[0], chosen[1:-1], [len(length) - 1]]))
    return Points(corners.thresholds[chosen], corners.far[chosen], corners.frr[chosen])


def roc(curve: ErrorCurve, count: int = 500) -> tuple[np.ndarray, np.ndarray]:
    """FAR and the share 1 - FRR of targets accepted, (L,) each with L <= count, from (0, 0) to (1, 1)."""
    points = thin(curve, count - 1)
    return np.append(points.far[::-1], 1.0), np.append(1 - points.frr[::-1], 1.0)


def det(curve: ErrorCurve, count: int = 500) -> tuple[np.ndarray, np.ndarray]:
    """FAR and FRR as standard normal deviates, (L,) each; points with a rate of 0 or 1 have none and are left out."""
    points = thin(curve, count)
    inside = (points.far > 0) & (points.far < 1) & (points.frr > 0) & (points.frr < 1)
    return norm.ppf(points.far[inside]), norm.ppf(points.frr[inside])


def _count_below(scores: np.ndarray, thresholds: np.ndarray | float) -> np.ndarray:
    """In the scores' own type, since searchsorted would copy millions of them; rounded up, since t is accepted."""
    wanted = np.asarray(thresholds)
    rounded = wanted.astype(scores.dtype)
    above = np.nextafter(rounded, scores.dtype.type(np.inf))
    return np.searchsorted(scores, np.where(rounded < wanted, above, rounded))


def _first_rejecting(curve: ErrorCurve, scores: np.ndarray) -> int:
    """The place of the first of ascending scores at which FAR < FRR."""
    return bisect_left(range(len(scores)), True, key=lambda place: curve.far(scores[place]) < curve.frr(scores[place]))


def _check(prior: float) -> None:
    if not 0 < prior < 1:
        raise ValueError(f"the prior probability of a target must lie between 0 and 1, got {prior}")


def _probit(rates: np.ndarray) -> np.ndarray:
    return np.clip(norm.ppf(rates), -EDGE, EDGE)
