"""Calibration of scores whose true likelihood ratios are known."""

import json

import numpy as np
import pytest
from scipy.optimize import minimize

from steps.backend.calibration import QUALITIES, Calibration, quality_measures


def cost(ratios: np.ndarray, labels: np.ndarray, prior: float = 0.5) -> float:
    """Cllr in bits at the effective prior; 1 at 0.5 for ratios that say nothing."""
    odds = ratios.astype(float) + np.log(prior / (1 - prior))
    miss, alarm = (np.logaddexp(0, part).mean() for part in (-odds[labels == 1], odds[labels == 0]))
    return float(prior * miss + (1 - prior) * alarm) / np.log(2)


def true_ratios(targets: int, nontargets: int, separation: float = 6.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Likelihood ratios N(+-separation / 2, separation) are their own likelihood ratios."""
    generator = np.random.default_rng(seed)
    labels = np.repeat([1, 0], [targets, nontargets])
    ratios = (labels - 0.5) * separation + np.sqrt(separation) * generator.normal(size=len(labels))
    return ratios, labels


@pytest.mark.parametrize("prior", [0.5, 0.1, 0.01])
def test_known_affine_map_is_undone(prior: float) -> None:
    ratios, labels = true_ratios(30_000, 200_000)
    found = Calibration.fit(0.07 * ratios - 1.5, labels, prior)
    assert found.scale == pytest.approx(1 / 0.07, rel=0.03)
    assert found.scale * -1.5 + found.offset == pytest.approx(0, abs=0.1)
    np.testing.assert_allclose(found.apply(0.07 * ratios - 1.5), ratios, atol=0.4)


def test_it_is_the_best_of_all_affine_maps() -> None:
    ratios, labels = true_ratios(400, 3000)
    scores = np.cbrt(ratios) + 4
    for prior in (0.5, 0.02):
        found = Calibration.fit(scores, labels, prior)
        other = minimize(lambda x, p=prior: cost(x[0] * scores + x[1], labels, p), [1.0, 0.0], method="BFGS")
        assert cost(found.apply(scores), labels, prior) == pytest.approx(other.fun, rel=1e-3)


@pytest.mark.parametrize("seed", range(5))
def test_cost_does_not_rise(seed: int) -> None:
    ratios, labels = true_ratios(300, 2000, seed=seed)
    for scores in (ratios, ratios / 10, 3 * ratios - 5, np.tanh(ratios / 5)):
        assert cost(Calibration.fit(scores, labels, 0.5).apply(scores), labels) <= cost(scores, labels) + 2e-4


def test_scale_and_shift_of_scores_do_not_matter() -> None:
    ratios, labels = true_ratios(300, 2000)
    plain = Calibration.fit(ratios, labels).apply(ratios)
    for scores in (1e-4 * ratios, 1e4 * ratios + 1e3, -ratios):
        np.testing.assert_allclose(Calibration.fit(scores, labels).apply(scores), plain, atol=1e-4)


def test_trials_are_chosen_by_their_labels() -> None:
    ratios, labels = true_ratios(300, 2100)
    shuffled = np.random.default_rng(1).permutation(2400)
    scores, labels = ratios[shuffled].reshape(40, 60), labels[shuffled].reshape(40, 60).astype(np.int8)
    with_others = np.vstack([scores, np.full((5, 60), 1e6)])
    marked = np.vstack([labels, np.full((5, 60), -1, np.int8)])
    a, b = Calibration.fit(with_others, marked), Calibration.fit(scores, labels)
    assert (a.scale, a.offset) == pytest.approx((b.scale, b.offset))
    assert a.apply(scores).shape == (40, 60) and a.apply(scores).dtype == np.float32


def test_quality_measures_mend_what_they_explain() -> None:
    generator = np.random.default_rng(2)
    labels = (np.arange(60)[:, None] == np.arange(600) // 10).astype(int)
    ratios = (labels - 0.5) * 8 + np.sqrt(8) * generator.normal(size=labels.shape)
    enrol, test = generator.normal(size=(60, 2)), generator.normal(size=(600, 2))
    bias = (enrol @ [1.0, 0.0])[:, None] + test @ [2.0, -3.0]
    scores = 0.1 * (ratios + bias)
    found = Calibration.fit(scores, labels, 0.5, enrol, test)
    assert found.scale == pytest.approx(10, rel=0.15)
    np.testing.assert_allclose(found.enrol_weights, [-1, 0], atol=0.3)
    np.testing.assert_allclose(found.test_weights, [-2, 3], atol=0.5)
    mended = cost(found.apply(scores, enrol, test), labels)
    assert mended < 0.5 * cost(Calibration.fit(scores, labels, 0.5).apply(scores), labels)
    by_hand = found.scale * scores[3, 5] + enrol[3] @ found.enrol_weights + test[5] @ found.test_weights + found.offset
    assert found.apply(scores, enrol, test)[3, 5] == pytest.approx(by_hand, rel=1e-5)


def test_measures_that_say_nothing_or_the_same_twice() -> None:
    ratios, labels = true_ratios(200, 1000)
    scores, labels = ratios.reshape(40, 30), labels.reshape(40, 30)
    enrol, test = np.full((40, 2), 7.0), np.repeat(np.random.default_rng(3).normal(size=(30, 1)), 2, axis=1)
    found = Calibration.fit(scores, labels, 0.5, enrol, test)
    assert found.enrol_weights.tolist() == [0, 0]
    assert np.abs(found.test_weights).max() < 1
    assert found.scale == pytest.approx(Calibration.fit(scores, labels, 0.5).scale, rel=0.05)


def test_scores_without_overlap_stay_finite() -> None:
    scores, labels = np.array([0.9, 0.8, 0.85, 0.1, 0.2, 0.15, 0.3]), np.array([1, 1, 1, 0, 0, 0, 0])
    for found in (Calibration.fit(scores, labels, 0.5), Calibration.fit(1e5 * scores, labels, 0.5)):
        ratios = found.apply(scores * (1e5 if found.scale < 1 else 1))
        assert (ratios[:3] > 0).all() and (ratios[3:] < 0).all()
        assert np.abs(ratios).max() < 3.5  # seven trials are no more evidence than that


def test_scores_the_wrong_way_round_are_told(caplog: pytest.LogCaptureFixture) -> None:
    ratios, labels = true_ratios(100, 500)
    Calibration.fit(-ratios, labels)
    assert "higher scores do not mean the same speaker" in caplog.text


def test_what_cannot_be_calibrated_is_refused() -> None:
    ratios, labels = true_ratios(100, 500)
    with pytest.raises(ValueError, match="got 0 and 600"):
        Calibration.fit(ratios, 0 * labels)
    with pytest.raises(ValueError, match="not finite"):
        Calibration.fit(np.append(ratios[1:], np.nan), labels)
    with pytest.raises(ValueError, match="labels of the scores' shape"):
        Calibration.fit(ratios, labels[1:])
    with pytest.raises(ValueError, match="must lie between 0 and 1, got 1"):
        Calibration.fit(ratios, labels, 1.0)
    with pytest.raises(ValueError, match=r"expected measures \(M, P\), \(K, P\)"):
        Calibration.fit(ratios.reshape(20, 30), labels.reshape(20, 30), 0.5, np.ones((30, 1)), np.ones((20, 1)))
    with pytest.raises(ValueError, match="fitted with 0 quality measures"):
        Calibration.fit(ratios, labels).apply(ratios.reshape(20, 30), np.ones((20, 1)), np.ones((30, 1)))


def test_dictionary_and_back() -> None:
    ratios, labels = true_ratios(200, 1000)
    scores, labels = ratios.reshape(40, 30), labels.reshape(40, 30)
    enrol, test = np.random.default_rng(4).normal(size=(40, 3)), np.ones((30, 3))
    found = Calibration.fit(scores, labels, 0.1, enrol, test)
    again = Calibration.from_dict(json.loads(json.dumps(found.to_dict())))
    np.testing.assert_array_equal(again.apply(scores, enrol, test), found.apply(scores, enrol, test))
    assert again.prior == 0.1
    with pytest.raises(ValueError, match=r"missing or unknown: \['offset', 'slope'\]"):
        Calibration.from_dict({**{k: v for k, v in found.to_dict().items() if k != "offset"}, "slope": 1})


def test_measures_of_quality() -> None:
    measures = quality_measures(np.array([0.0, 2.0, 60.0]), np.array([1.0, 2.0, 3.0]), np.array([0.1, 0.2, 0.3]))
    np.testing.assert_allclose(measures[:, 0], np.log([0.1, 2.0, 20.0]))
    np.testing.assert_allclose(measures[:, 1:], [[1, 0.1], [2, 0.2], [3, 0.3]])
    assert measures.shape[1] == len(QUALITIES)
    assert quality_measures(np.array([60.0]), np.ones(1), np.ones(1), longest=30.0)[0, 0] == pytest.approx(np.log(30))
