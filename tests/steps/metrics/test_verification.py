"""Error rates of verification against brute force over all thresholds, closed forms and scipy."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.stats import ks_2samp, norm

from steps.metrics import verification as v


def gaussian(separation: float, targets: int, nontargets: int, seed: int = 0) -> v.ErrorCurve:
    rng = np.random.default_rng(seed)
    return v.ErrorCurve(np.sort(rng.normal(separation, 1, targets)), np.sort(rng.normal(0, 1, nontargets)))


def operating_points(curve: v.ErrorCurve) -> list[tuple[float, float, float]]:
    """Threshold, FAR and FRR at each distinct score and above all, by counting."""
    scores = np.concatenate([curve.targets, curve.nontargets])
    return [
        (float(t), float(np.mean(curve.nontargets >= t)), float(np.mean(curve.targets < t)))
        for t in [*np.unique(scores), np.inf]
    ]


def brute_eer(curve: v.ErrorCurve) -> float:
    for (_, far, frr), (_, next_far, next_frr) in pairwise(operating_points(curve)):
        if far >= frr and next_far < next_frr:
            share = (far - frr) / ((far - frr) - (next_far - next_frr))
            return far + share * (next_far - far)
    raise AssertionError("FAR and FRR always cross")


def brute_cost(curve: v.ErrorCurve, prior: float) -> float:
    return min((prior * frr + (1 - prior) * far) / min(prior, 1 - prior) for _, far, frr in operating_points(curve))


few = st.lists(st.integers(-4, 4).map(lambda n: n / 4), min_size=1, max_size=12)  # with many ties


@given(targets=few, nontargets=few, prior=st.sampled_from([0.5, 0.1, 0.01, 0.9]), wide=st.booleans())
@settings(max_examples=300, deadline=None)
def test_everything_against_brute_force(targets, nontargets, prior, wide):
    scores = np.array(targets + nontargets, np.float64 if wide else np.float32)
    curve = v.error_curve(scores, np.array([1] * len(targets) + [0] * len(nontargets)))
    points = operating_points(curve)
    for threshold, far, frr in points:
        assert (curve.far(threshold), curve.frr(threshold)) == (pytest.approx(far), pytest.approx(frr))
    assert v.min_dcf(curve, prior).value == pytest.approx(brute_cost(curve, prior))
    assert v.min_dcf(curve, prior).value <= 1 + 1e-12
    assert v.act_dcf(curve, prior).value >= v.min_dcf(curve, prior).value - 1e-12
    equal, accuracy = v.eer(curve), v.accuracy(curve)
    assert equal.value == pytest.approx(brute_eer(curve))
    assert equal.threshold in scores
    assert accuracy.value == pytest.approx(1 - min(far + frr for _, far, frr in points))
    assert accuracy.value >= 1 - 2 * equal.value - 1e-12
    assert accuracy.value == pytest.approx(max(0.0, ks_2samp(nontargets, targets, alternative="greater").statistic))
    assert v.min_cllr(curve) <= min(v.cllr(curve), 1.0) + 1e-9


def test_ties_at_the_crossing_are_interpolated() -> None:
    def curve(targets: list[float], nontargets: list[float]) -> v.ErrorCurve:
        return v.ErrorCurve(np.array(targets), np.array(nontargets))

    # One score for all: (FAR, FRR) goes from (1, 0) to (0, 1) in one step.
    assert v.eer(curve([0.0, 0.0], [0.0, 0.0, 0.0])) == v.Rate(0.5, 0.0)
    # (2/3, 0) at 1; (1/3, 1/2) at 2: the line meets FAR = FRR after 4/5 of the step, at 0.4, nearer to its end.
    assert v.eer(curve([1.0, 2.0], [0.0, 1.0, 2.0])) == v.Rate(pytest.approx(0.4), 2.0)
    # Without ties a vertical or horizontal step crosses: FRR 1/4 holds while FAR falls from 1/3 to 0.
    assert v.eer(curve([1.0, 3.0, 4.0, 5.0], [0.0, 0.5, 2.0])) == v.Rate(0.25, 2.0)


def test_perfect_and_reversed_scores() -> None:
    right = v.ErrorCurve(np.array([2.0, 3.0]), np.array([0.0, 1.0]))
    assert (v.eer(right), v.accuracy(right), v.min_dcf(right, 0.01)) == (
        v.Rate(0.0, 2.0), v.Rate(1.0, 2.0), v.Rate(0.0, 2.0))  # fmt: skip
    assert v.min_cllr(right) == 0
    wrong = v.ErrorCurve(np.array([0.0, 1.0]), np.array([2.0, 3.0]))
    assert v.eer(wrong).value == 1.0
    assert v.min_dcf(wrong, 0.01) == v.Rate(1.0, np.inf)  # nothing is worth accepting
    assert v.min_cllr(wrong) == pytest.approx(1.0)


@pytest.mark.parametrize("separation", [0.5, 2.0, 3.5])
def test_gaussian_scores_have_closed_forms(separation: float) -> None:
    curve = gaussian(separation, 200_000, 200_000)
    error = norm.cdf(-separation / 2)
    assert v.eer(curve).value == pytest.approx(error, abs=4 * math.sqrt(error / 200_000))
    assert v.eer(curve).threshold == pytest.approx(separation / 2, abs=0.03)
    assert v.accuracy(curve).value == pytest.approx(1 - 2 * error, abs=0.01)
    assert v.accuracy(curve).value == pytest.approx(ks_2samp(curve.targets, curve.nontargets).statistic)
    for prior in (0.01, 0.1):
        threshold = separation / 2 + math.log((1 - prior) / prior) / separation
        cost = norm.cdf(threshold - separation) + (1 - prior) / prior * norm.sf(threshold)
        assert v.min_dcf(curve, prior).value == pytest.approx(cost, abs=0.02)
    at = np.linspace(-3, 3 + separation, 7)
    assert curve.far(at) == pytest.approx(norm.sf(at), abs=0.005)
    assert curve.frr(at) == pytest.approx(norm.cdf(at - separation), abs=0.005)


@pytest.mark.parametrize("separation", [1.0, 2.5])
def test_cllr_of_true_likelihood_ratios(separation: float) -> None:
    plain = gaussian(separation, 100_000, 100_000)
    curve = v.ErrorCurve(*(separation * (s - separation / 2) for s in (plain.targets, plain.nontargets)))
    bits, _ = quad(
        lambda x: np.logaddexp(0, -x) * norm.pdf(x, separation**2 / 2, separation), -40, 40 + separation**2, limit=200
    )
    assert v.cllr(curve) == pytest.approx(bits / math.log(2), abs=0.01)
    assert v.cllr(curve) - 0.01 < v.min_cllr(curve) <= v.cllr(curve)  # nothing to gain but chance
    assert v.act_dcf(curve, 0.1).value == pytest.approx(v.min_dcf(curve, 0.1).value, abs=0.02)
    shifted = v.ErrorCurve(curve.targets + 3, curve.nontargets + 3)
    assert v.cllr(shifted) > v.cllr(curve) + 0.3
    assert v.min_cllr(shifted) == pytest.approx(v.min_cllr(curve))
    assert v.min_dcf(shifted, 0.1).value == pytest.approx(v.min_dcf(curve, 0.1).value)
    assert v.act_dcf(shifted, 0.1).value > v.act_dcf(curve, 0.1).value + 0.1


def test_cllr_of_nothing_known_is_one_bit() -> None:
    assert v.cllr(v.ErrorCurve(np.zeros(3), np.zeros(5))) == pytest.approx(1.0)
    assert v.min_cllr(v.ErrorCurve(np.full(3, 7.0), np.full(5, 7.0))) == pytest.approx(1.0)


def test_min_cllr_against_pooling_trial_by_trial() -> None:
    from sklearn.isotonic import isotonic_regression

    rng = np.random.default_rng(1)
    scores, labels = rng.normal(size=400).round(1), rng.integers(0, 2, 400)
    scores += labels
    distinct = np.unique(scores)
    weights = np.array([np.sum(scores == s) for s in distinct], float)
    shares = np.array([labels[scores == s].mean() for s in distinct])
    fitted = isotonic_regression(shares, sample_weight=weights)[np.searchsorted(distinct, scores)]
    odds = fitted / np.maximum(1 - fitted, 1e-300) * np.sum(labels == 0) / np.sum(labels == 1)
    bits = np.log2(1 + 1 / odds[labels == 1]).mean() / 2 + np.log2(1 + odds[labels == 0]).mean() / 2
    assert v.min_cllr(v.error_curve(scores, labels)) == pytest.approx(bits)


def test_thresholds_keep_their_meaning_beside_single_precision() -> None:
    score = np.float32(0.1)  # 0.10000000149 in full
    curve = v.ErrorCurve(np.array([score]), np.array([score]))
    assert curve.far(0.1) == 1.0  # below the score
    assert curve.far(float(score)) == 1.0
    assert curve.far(float(score) + 1e-12) == 0.0
    assert curve.frr(float(score) + 1e-12) == 1.0


def test_threshold_at_far_is_the_least_that_keeps_it() -> None:
    nontargets = np.sort(np.random.default_rng(0).normal(size=100).round(1)).astype(np.float32)
    for far in (0.0, 0.005, 0.01, 0.07, 0.29, 0.5, 0.999):
        threshold = v.threshold_at_far(nontargets, far)
        assert np.mean(nontargets >= threshold) <= far
        assert np.mean(nontargets >= np.nextafter(np.float32(threshold), -np.float32(np.inf))) > far
    distinct = np.arange(100.0)
    assert [np.sum(distinct >= v.threshold_at_far(distinct, n / 100)) for n in range(100)] == list(range(100))
    assert v.threshold_at_far(distinct, 1.0) == -np.inf
    with pytest.raises(ValueError, match="between 0 and 1, got 5"):
        v.threshold_at_far(nontargets, 5)


def test_plots_are_thin_and_true() -> None:
    curve = gaussian(2.0, 20_000, 50_000)
    points = v.thin(curve, 100)
    assert 50 < len(points.far) <= 100
    assert (points.far[-1], points.frr[-1], points.thresholds[-1]) == (0.0, 1.0, np.inf)
    assert points.frr[0] == 0.0
    assert (points.far == curve.far(points.thresholds)).all()
    false, true = v.roc(curve, 100)
    assert (np.diff(false) >= 0).all() and (np.diff(true) >= 0).all()
    assert np.trapezoid(true, false) == pytest.approx(norm.cdf(2 / math.sqrt(2)), abs=0.01)  # the area under it
    x, y = v.det(curve, 100)
    central = (np.abs(x) < 2.5) & (np.abs(y) < 2.5)
    assert central.sum() > 30
    assert (x + y)[central] == pytest.approx(-2.0, abs=0.1)  # a straight line at d'


def test_rows_without_trial_do_not_count() -> None:
    scores = np.array([[0.9, 0.1, np.nan], [0.2, 0.8, 0.3]], np.float32)
    labels = np.array([[1, 0, -1], [0, 1, -1]], np.int8)
    curve = v.error_curve(scores, labels)
    assert curve.targets.tolist() == pytest.approx([0.8, 0.9])
    assert curve.nontargets.tolist() == pytest.approx([0.1, 0.2])
    assert curve.targets.dtype == np.float32
    assert scores[0, 0] == np.float32(0.9)  # sorting left it alone


def test_what_cannot_be_measured_is_said() -> None:
    labels = np.array([[1, 0], [0, -1]])
    with pytest.raises(ValueError, match=r"the score at \[1, 0\] is nan"):
        v.error_curve(np.array([[1.0, 0.0], [np.nan, 0.0]]), labels)
    with pytest.raises(ValueError, match=r"the score at \[0, 0\] is -inf"):
        v.error_curve(np.array([[-np.inf, 0.0], [0.0, 0.0]]), labels)
    with pytest.raises(ValueError, match="same trials"):
        v.error_curve(np.zeros((2, 3)), labels)
    with pytest.raises(ValueError, match="no target trial among 4"):
        v.error_curve(np.zeros((2, 2)), np.zeros((2, 2)))
    with pytest.raises(ValueError, match="no non-target trial"):
        v.error_curve(np.zeros(2), np.ones(2))
    for measure in (v.min_dcf, v.act_dcf):
        with pytest.raises(ValueError, match="between 0 and 1, got 1"):
            measure(gaussian(1, 5, 5), 1.0)
