"""Thresholds from decision.json, against normal distributions whose thresholds are known."""

import json

import numpy as np
import pytest
from scipy.stats import norm

from steps.backend.calibration import Calibration
from steps.backend.decision import Decision
from steps.metrics.thresholds import threshold_table
from steps.metrics.verification import ErrorCurve

FARS = [0.1, 0.05, 0.01, 0.001, 0.0001]
PLAIN = Calibration(1.0, 0.0, np.zeros(0), np.zeros(0), 0.01)


def decision(targets=(5.0, 2.0), others=(-6.0, 2.5), counts=(2000, 40000)):
    """Scores are the quantiles of two normal distributions, each given as mean and standard deviation."""
    scores = [norm.ppf((np.arange(n) + 0.5) / n, *how) for n, how in zip(counts, (targets, others), strict=True)]
    return Decision("plda", PLAIN, threshold_table(ErrorCurve(*scores), FARS))


def test_a_pair_gets_the_threshold_of_its_row():
    assert decision().for_pair(0.01) == pytest.approx(norm.isf(0.01, -6, 2.5), abs=0.02)
    with pytest.raises(
        ValueError, match=r"0\.0001 needs 300000 .* made from 40000: .* one of 0\.1, 0\.05, 0\.01, 0\.001"
    ):
        decision().for_pair(0.0001)


def test_a_gallery_gets_a_row_that_is_low_enough():
    found = decision()
    assert found.for_gallery(0.05, 1) == found.for_pair(0.05)
    assert found.for_gallery(0.06, 1) == found.for_pair(0.05)
    assert found.for_gallery(0.1, 10) == found.for_pair(0.01)  # 1 - 0.9^(1/10) = 0.0105
    assert found.for_gallery(0.1, 11) == found.for_pair(0.001)  # ... 0.0095
    strangers = norm.rvs(-6, 2.5, size=(20000, 10), random_state=1).max(axis=1)
    assert 0.05 < (strangers >= found.for_gallery(0.1, 10)).mean() <= 0.105
    with pytest.raises(
        ValueError, match=r"of 0\.01 with 500 speakers needs a FAR of 2e-05.* --fpir 0\.3937 \(a FAR of 0\.001\)"
    ):
        found.for_gallery(0.01, 500)
    assert found.for_gallery(0.3937, 500) == found.for_pair(0.001)  # what was offered is taken
    with pytest.raises(ValueError, match="between 0 and 1"):
        found.for_gallery(1.0, 5)


def test_one_voice_falls_below_as_often_as_asked():
    found = decision()
    for frr in (0.05, 0.02, 0.005):  # the first two by interpolation, the last far below all rows
        expected = min(norm.ppf(frr, 5, 2), (5 * 2.5 - 6 * 2) / 4.5)
        assert found.same_voice(frr) == pytest.approx(expected, abs=0.2)


def test_a_bad_model_checks_at_its_equal_error_rate():
    found = decision(targets=(1.0, 2.0), others=(-1.0, 2.0))
    assert found.same_voice(0.4) == pytest.approx(0.0, abs=0.05)
    assert found.same_voice(0.02) == pytest.approx(norm.ppf(0.02, 1, 2), abs=0.1)


def test_a_table_without_misses_checks_where_none_was_missed():
    found = decision(targets=(30.0, 1.0))
    rows = [row for row in found.table if row.threshold is not None]
    assert all(row.frr == 0 for row in rows)
    assert found.same_voice(0.02) == pytest.approx(max(row.threshold for row in rows), abs=0.1)
    assert found.strictest() == max(row.threshold for row in rows)


def test_a_table_without_thresholds_says_so():
    found = decision(counts=(5, 5))
    assert found.strictest() is None
    with pytest.raises(ValueError, match="no threshold at all"):
        found.same_voice(0.02)
    with pytest.raises(ValueError, match=r"measure on more speakers$"):
        found.for_gallery(0.1, 3)


def test_what_score_trials_writes_is_read(tmp_path):
    expected = decision()
    values = {
        "chain": "plda", "calibration": PLAIN.to_dict(), "thresholds": [row.to_dict() for row in expected.table],
    }  # fmt: skip
    (tmp_path / "decision.json").write_text(json.dumps(values), encoding="utf-8")
    assert Decision.load(tmp_path).table == expected.table
    del values["calibration"]
    (tmp_path / "decision.json").write_text(json.dumps(values), encoding="utf-8")
    with pytest.raises(ValueError, match=r"decision\.json holds no decision"):
        Decision.load(tmp_path)
    with pytest.raises(FileNotFoundError, match="stage 7"):
        Decision.load(tmp_path / "other")
