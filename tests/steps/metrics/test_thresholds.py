"""The table of thresholds: what a row promises holds, and what too few trials cannot support is marked."""

import json

import numpy as np
import pytest
from scipy.stats import binom, norm

from steps.metrics import thresholds as th
from steps.metrics.config import VerificationConfig
from steps.metrics.verification import ErrorCurve


def curve(targets: int = 2000, nontargets: int = 100_000, seed: int = 0) -> ErrorCurve:
    rng = np.random.default_rng(seed)
    return ErrorCurve(np.sort(rng.normal(4, 1, targets)), np.sort(rng.normal(0, 1, nontargets)))


def test_rows_of_gaussian_scores() -> None:
    scores = curve()
    table = th.threshold_table(scores, [0.001, 0.1, 0.01])
    assert [row.target_far for row in table] == [0.1, 0.01, 0.001]
    for row in table:
        assert row.threshold == pytest.approx(norm.isf(row.target_far), abs=0.1)
        assert row.errors == np.count_nonzero(scores.nontargets >= row.threshold) == round(row.target_far * 100_000)
        assert row.frr == np.mean(scores.targets < row.threshold)
        assert row.supported and (row.nontargets, row.targets) == (100_000, 2000)
        assert row.far.low < row.target_far < row.far.high
        assert th.choose(table, row.target_far) == row.threshold


def test_rates_without_trials_behind_them_are_marked_and_refused() -> None:
    table = th.threshold_table(curve(nontargets=3000), [0.02, 0.01, 0.009, 0.0005, 0.0001])
    assert [(row.supported, row.threshold is None) for row in table] == [
        (True, False), (True, False), (False, False), (False, False), (False, True)]  # fmt: skip
    assert [row.errors for row in table] == [60, 30, 27, 1, 0]
    with pytest.raises(ValueError, match=r"0\.009 needs 3334 non-target trials, .* 3000: .* one of 0\.02, 0\.01"):
        th.choose(table, 0.009)
    with pytest.raises(ValueError, match=r"0\.0001 needs 300000 non-target trials"):
        th.choose(table, 0.0001)
    with pytest.raises(ValueError, match=r"no threshold was measured for a FAR of 0\.5; there is one for 0\.02"):
        th.choose(table, 0.5)
    with pytest.raises(ValueError, match="take one of none"):
        th.choose(th.threshold_table(curve(nontargets=5), [0.3]), 0.3)
    with pytest.raises(ValueError, match="between 0 and 1, got 1"):
        th.threshold_table(curve(5, 5), [1.0])


def test_thirty_errors_are_within_thirty_per_cent() -> None:
    # Doddington's rule, from the binomial distribution itself.
    trials = 3000
    within = [errors for errors in range(trials) if abs(errors / trials - 0.01) <= 0.3 * 0.01]
    assert binom.pmf(within, trials, 0.01).sum() == pytest.approx(0.9, abs=0.03)


@pytest.mark.parametrize(("errors", "trials"), [(0, 50), (3, 200), (50, 50)])
def test_bounds_of_a_rate_invert_the_binomial_test(errors: int, trials: int) -> None:
    bounds = th.clopper_pearson(errors, trials)
    assert bounds.low <= errors / trials <= bounds.high
    if errors:
        assert binom.sf(errors - 1, trials, bounds.low) == pytest.approx(0.025)
    if errors < trials:
        assert binom.cdf(errors, trials, bounds.high) == pytest.approx(0.025)


def test_gallery_needs_a_lower_rate() -> None:
    assert th.far_for_gallery(0.01, 196) == pytest.approx(5.13e-5, rel=1e-3)
    assert th.far_for_gallery(0.01, 1) == pytest.approx(0.01)
    for models in (2, 50):
        assert 1 - (1 - th.far_for_gallery(0.1, models)) ** models == pytest.approx(0.1)


def test_table_is_json() -> None:
    rows = [row.to_dict() for row in th.threshold_table(curve(50, 50), VerificationConfig().fars)]
    again = json.loads(json.dumps(rows, allow_nan=False))
    assert again == rows
    assert again[-1]["threshold"] is None and set(again[0]["far"]) == {"low", "high"}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"priors": [0.0]}, "score.priors: expected numbers between 0 and 1"),
        ({"fars": []}, "score.fars"),
        ({"fpirs": [1.0]}, "score.fpirs"),
        ({"durations": [0.0]}, "score.durations: expected positive seconds"),
        ({"unknown_share": 1.0}, "score.unknown_share"),
        ({"resamples": 5}, "score.resamples must be at least 100, got 5"),
        ({"folds": 0}, "score.folds must be at least 1"),
        ({"gallery_sizes": [1]}, "score.gallery_sizes: expected at least 2"),
    ],
)
def test_configuration_refuses(values: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        VerificationConfig(**values)
