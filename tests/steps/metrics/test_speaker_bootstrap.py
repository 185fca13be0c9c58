"""Intervals over speakers: against corpora in which drawn speakers really stand several times, and for coverage."""

import numpy as np
import pytest

from steps.metrics import speaker_bootstrap as sb
from steps.metrics import verification as v


def corpus(speakers: int, tests: int, seed: int, between: float = 0.6, unknown: int = 0):
    """Scores and labels (M, K) with effects of the model's speaker and of the test's, and the speakers of each."""
    rng = np.random.default_rng(seed)
    names = [f"S{n:03}" for n in range(speakers + unknown)]
    owners = np.repeat(np.arange(speakers + unknown), tests)
    labels = (np.arange(speakers)[:, None] == owners).astype(np.int8)
    impostor = rng.normal(0, between / 2, speakers + unknown)
    own = rng.normal(0, between, speakers + unknown)
    scores = rng.normal(0, 1, labels.shape) + impostor[:speakers, None] + impostor[owners]
    scores[labels == 1] = rng.normal(2.5, 1, (labels == 1).sum()) + np.repeat(own[:speakers], tests)
    return scores.astype(np.float32), labels, names[:speakers], [names[owner] for owner in owners]


def repeated(scores, labels, models, tests, weights) -> v.ErrorCurve:
    """The trials of a draw, each as often as its weight says."""
    rows, columns = (np.array([weights[name] for name in names], int) for names in (models, tests))
    times = np.where(labels == 1, columns, rows[:, None] * columns)
    kinds = [np.sort(np.repeat(scores[labels == kind], times[labels == kind])) for kind in (1, 0)]
    return v.ErrorCurve(*kinds)


@pytest.mark.parametrize("bins", [400, 40])
def test_each_draw_against_repeated_trials(bins: int) -> None:
    scores, labels, models, tests = corpus(8, 12, seed=0, unknown=2)
    names = sorted(set(tests))
    drawn = sb.draw(len(names), 40, seed=3)
    targets = np.sort(scores[labels == 1])
    thresholds = np.unique(targets[np.linspace(0, len(targets) - 1, bins).round().astype(int)])
    number = {name: n for n, name in enumerate(names)}
    rows, columns = (np.array([number[name] for name in who]) for who in (models, tests))
    counts = sb.count(scores, labels, rows, columns, thresholds, drawn)
    far, frr = sb.error_rates(counts, drawn)
    assert len(far) == len(drawn)
    equal, costs = sb.equal_error_rates(far, frr), v.detection_cost(far, frr, 0.01).min(axis=1)
    for place, weights in enumerate(drawn):
        curve = repeated(scores, labels, models, tests, dict(zip(names, weights, strict=True)))
        steps = np.diff(frr[place]).max()  # what the binning may cost
        assert equal[place] == pytest.approx(v.eer(curve).value, abs=steps)
        exact = v.min_dcf(curve, 0.01).value
        assert exact - 1e-9 <= costs[place] <= exact + (1e-6 if bins == 400 else steps)


def test_interval_is_as_wide_as_the_spread_over_corpora() -> None:
    # What a 95 % interval promises: other speakers would give figures about as far away.
    figures, widths = [], []
    for seed in range(150):
        scores, labels, models, tests = corpus(40, 8, seed)
        figures.append(v.eer(v.error_curve(scores, labels)).value)
        if seed % 10 == 0:
            found = sb.speaker_intervals(scores, labels, models, tests, [0.01], resamples=400, bins=128, seed=seed)
            widths.append(found.eer.high - found.eer.low)
    assert np.mean(widths) == pytest.approx(2 * 1.96 * np.std(figures), rel=0.2)


def test_interval_holds_the_figure_and_bins_hardly_matter() -> None:
    scores, labels, models, tests = corpus(30, 20, seed=1)
    curve = v.error_curve(scores, labels)
    coarse, fine = (
        sb.speaker_intervals(scores, labels, models, tests, [0.01, 0.001], 300, bins, 0) for bins in (60, 600)
    )
    assert coarse.speakers == 30
    assert fine.resolution == pytest.approx(1 / 600)
    assert coarse.resolution == pytest.approx(1 / 60, rel=0.2)
    assert fine.eer.low < v.eer(curve).value < fine.eer.high
    assert fine.min_dcf[0.01].low < v.min_dcf(curve, 0.01).value < fine.min_dcf[0.01].high
    for a, b in ((coarse.eer, fine.eer), *((coarse.min_dcf[p], fine.min_dcf[p]) for p in (0.01, 0.001))):
        assert (a.low, a.high) == pytest.approx((b.low, b.high), abs=2 / 60)
    again = sb.speaker_intervals(scores, labels, models, tests, [0.01, 0.001], 300, 600, 0)
    assert again == fine
    assert sb.speaker_intervals(scores, labels, models, tests, [0.01], 300, 600, 1).eer != fine.eer


def test_order_of_tests_and_trials_left_out_do_not_matter() -> None:
    scores, labels, models, tests = corpus(12, 6, seed=2)
    labels[::3, ::5] = -1
    scores[::3, ::5] = np.nan
    order = np.random.default_rng(0).permutation(len(tests))
    first = sb.speaker_intervals(scores, labels, models, tests, [0.1], 100, 64, 0)
    shuffled = [tests[place] for place in order]
    assert sb.speaker_intervals(scores[:, order], labels[:, order], models, shuffled, [0.1], 100, 64, 0) == first


def test_draws_without_target_speakers_are_left_out() -> None:
    # 5 speakers with models among 60: about one draw in 150 has none of them.
    scores, labels, models, tests = corpus(5, 3, seed=3, unknown=55)
    found = sb.speaker_intervals(scores, labels, models, tests, [0.01], 2000, 64, 0)
    assert 0 <= found.eer.low <= found.eer.high <= 1


def test_perfect_scores_have_no_width() -> None:
    _, labels, models, tests = corpus(10, 4, seed=4)
    found = sb.speaker_intervals(labels.astype(np.float32), labels, models, tests, [0.01], 100, 64, 0)
    assert (found.eer.low, found.eer.high) == (0, 0)
    assert (found.min_dcf[0.01].low, found.min_dcf[0.01].high) == (0, 0)


def test_few_speakers_and_misaligned_ones() -> None:
    scores, labels, models, tests = corpus(4, 5, seed=5, unknown=4)
    assert sb.speaker_intervals(scores, labels, models, tests, [0.01], 100, 64, 0) is None
    scores, labels, models, tests = corpus(6, 5, seed=5)
    with pytest.raises(ValueError, match=r"trial \[0, 0\] is labelled 1, .* S000 .* S005: .*misaligned"):
        sb.speaker_intervals(scores, labels, models, tests[::-1], [0.01], 100, 64, 0)
    with pytest.raises(ValueError, match="5 models and 30 tests"):
        sb.speaker_intervals(scores, labels, models[1:], tests, [0.01], 100, 64, 0)
