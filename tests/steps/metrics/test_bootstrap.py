"""Bootstrap intervals against closed forms and kaldialign's."""

import itertools
import math

import kaldialign
import numpy as np
import pytest

from steps.metrics import bootstrap
from steps.metrics.bootstrap import compare, group_sums, interval
from steps.metrics.edit_distance import Counts, Scored


def utterances(errors: list[int], tokens: int = 10, speakers: list[str] | None = None) -> list[Scored]:
    names = speakers or [f"S{n}" for n in range(len(errors))]
    return [
        Scored(f"u{n}", name, f"text {n}", "", [], Counts(substitutions=count, tokens=tokens))
        for n, (count, name) in enumerate(zip(errors, names, strict=True))
    ]


def test_interval_of_many_equal_utterances_is_the_normal_one() -> None:
    errors = np.random.default_rng(0).binomial(10, 0.1, size=2000)
    rates = errors / 10
    half = 1.96 * 100 * rates.std() / math.sqrt(len(rates))
    found = interval(group_sums(utterances(errors.tolist()), "utterance"), 10_000, seed=1)
    assert found.low == pytest.approx(100 * rates.mean() - half, abs=0.05 * half)
    assert found.high == pytest.approx(100 * rates.mean() + half, abs=0.05 * half)


def test_interval_over_utterances_agrees_with_kaldialign() -> None:
    generator = np.random.default_rng(3)
    refs = ["".join(generator.choice(list("甲乙丙丁"), generator.integers(3, 15))) for _ in range(300)]
    hyps = ["".join(c for c in ref if generator.random() > 0.1) for ref in refs]
    theirs = kaldialign.bootstrap_wer_ci(refs, hyps, replications=5000, seed=0)
    errors = [kaldialign.edit_distance(ref, hyp)["total"] for ref, hyp in zip(refs, hyps, strict=True)]
    sums = np.array([errors, [len(ref) for ref in refs]], dtype=float).T
    ours = interval(sums, 5000, seed=0)
    width = 100 * (theirs["ci95max"] - theirs["ci95min"])
    assert ours.low == pytest.approx(100 * theirs["ci95min"], abs=0.05 * width)
    assert ours.high == pytest.approx(100 * theirs["ci95max"], abs=0.05 * width)


def test_three_groups_against_all_their_draws() -> None:
    sums = np.array([[0.0, 10.0], [2.0, 20.0], [9.0, 30.0]])
    rates = sorted(100 * sums[list(draw)].sum(axis=0)[0] / sums[list(draw)].sum(axis=0)[1]
                   for draw in itertools.product(range(3), repeat=3))  # fmt: skip
    found = interval(sums, 200_000, seed=0)
    assert (found.low, found.high) == pytest.approx((rates[0], rates[-1]))  # each end has 1 of 27 draws


def test_speakers_go_together_and_widen_the_interval() -> None:
    # Two kinds of speakers, 20 utterances each: errors are all between speakers.
    errors = [4] * 100 + [0] * 100
    speakers = [f"S{n // 20}" for n in range(200)]
    scored = utterances(errors, speakers=speakers)
    by_speaker, by_utterance = (group_sums(scored, by) for by in ("speaker", "utterance"))
    assert by_speaker.tolist() == [[80.0, 200.0]] * 5 + [[0.0, 200.0]] * 5
    wide, narrow = (interval(sums, 5000, seed=0) for sums in (by_speaker, by_utterance))
    assert (wide.high - wide.low) > 3 * (narrow.high - narrow.low)


def test_few_speakers_are_drawn_by_utterance() -> None:
    assert len(group_sums(utterances([0, 1, 2], speakers=["S", "S", "T"]), "speaker")) == 3
    assert bootstrap.resampled_by({str(n): f"S{n % 4}" for n in range(40)}, "speaker") == "utterance"
    assert bootstrap.resampled_by({str(n): f"S{n % 5}" for n in range(40)}, "speaker") == "speaker"
    assert bootstrap.resampled_by({str(n): f"S{n % 5}" for n in range(40)}, "utterance") == "utterance"


def test_no_errors_have_an_interval_of_zero_and_a_seed_repeats() -> None:
    assert interval(np.array([[0.0, 10.0]] * 8), 1000, seed=0) == bootstrap.Interval(0.0, 0.0)
    sums = np.random.default_rng(0).integers(1, 9, size=(50, 2)).astype(float)
    assert interval(sums, 500, seed=5) == interval(sums, 500, seed=5)
    assert interval(sums, 500, seed=5) != interval(sums, 500, seed=6)


def test_drawing_in_blocks_draws_as_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootstrap, "BLOCK", 64)
    sums = np.random.default_rng(0).integers(1, 9, size=(30, 2)).astype(float)
    assert bootstrap._draw(sums, 1001, seed=0).shape == (1001, 2)
    assert bootstrap._draw(sums, 1001, seed=0)[:, 1].mean() == pytest.approx(sums[:, 1].sum(), rel=0.02)


def test_comparison_is_paired() -> None:
    # B has one error more in every utterance: every draw says so, though the intervals overlap.
    generator = np.random.default_rng(0)
    errors = generator.integers(0, 8, size=60)
    a, b = utterances(errors.tolist()), utterances((errors + 1).tolist())
    found = compare(a, b, "utterance", 2000, seed=0)
    assert found.better == 1.0
    assert found.rate_b - found.rate_a == pytest.approx(10.0)
    assert (found.difference.low, found.difference.high) == pytest.approx((-10.0, -10.0))
    intervals = [interval(group_sums(scored, "utterance"), 2000, seed=0) for scored in (a, b)]
    assert intervals[0].high > intervals[1].low
    assert compare(b, a, "utterance", 2000, seed=0).better == 0.0
    assert compare(a, a, "utterance", 2000, seed=0).better == 0.5


def test_probability_of_a_coin_toss() -> None:
    # Of 100 utterances A is better in 50 and B in 50, by the same amount.
    a, b = utterances([1, 0] * 50), utterances([0, 1] * 50)
    assert compare(a, b, "utterance", 20_000, seed=0).better == pytest.approx(0.5, abs=0.02)


def test_other_utterances_cannot_be_compared() -> None:
    with pytest.raises(ValueError, match="not scored on the same utterances"):
        compare(utterances([1, 2]), utterances([1, 2, 3]), "utterance", 100, seed=0)
    with pytest.raises(ValueError, match="not scored on the same utterances"):
        compare(utterances([1, 2]), utterances([1, 2], tokens=9), "utterance", 100, seed=0)
