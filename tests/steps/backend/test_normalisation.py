"""Score normalisation against loops over trials."""

import numpy as np
import pytest

from steps.backend.normalisation import as_norm, cohort_statistics, s_norm


def looped(scores: np.ndarray, enrol: np.ndarray, test: np.ndarray, top_n: int) -> np.ndarray:
    result = np.empty(scores.shape)
    for m, row in enumerate(scores):
        for k, score in enumerate(row):
            near = [sorted(side)[-top_n:] for side in (enrol[m], test[k])]
            result[m, k] = np.mean([(score - np.mean(side)) / np.std(side) for side in near])
    return result


@pytest.fixture
def scores() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    shapes = ((4, 9), (4, 30), (9, 30))
    return tuple((3 + 5 * generator.normal(size=shape)).astype(np.float32) for shape in shapes)


@pytest.mark.parametrize("block", [1, 40, 1 << 21])
def test_both_equal_the_loops(scores, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("steps.backend.normalisation.BLOCK", block)
    assert s_norm(*scores).dtype == np.float32
    np.testing.assert_allclose(s_norm(*scores), looped(*scores, top_n=30), atol=1e-5)
    for top_n in (2, 10, 29, 30):
        np.testing.assert_allclose(as_norm(*scores, top_n=top_n), looped(*scores, top_n=top_n), atol=1e-4)


def test_scale_and_shift_of_the_scorer_do_not_matter(scores) -> None:
    moved = [7 * part - 20 for part in scores]
    np.testing.assert_allclose(as_norm(*moved, top_n=10), as_norm(*scores, top_n=10), atol=2e-4)


def test_scores_drawn_like_the_cohort_become_standard() -> None:
    generator = np.random.default_rng(1)
    offsets = generator.normal(size=(50, 1))
    enrol, scores = (offsets + generator.normal(size=(50, size)) for size in (2000, 400))
    test = generator.normal(size=(400, 2000)) * np.sqrt(2)  # to a test, models differ by their offsets too
    normalised = s_norm(scores, enrol, test)
    assert abs(normalised.mean()) < 0.15
    assert 0.8 < normalised.std() < 1.05


def test_small_cohort_is_used_whole_and_says_so(scores, caplog: pytest.LogCaptureFixture) -> None:
    np.testing.assert_array_equal(as_norm(*scores, top_n=31), s_norm(*scores))
    assert "the cohort has 30 speakers, fewer than top_n = 31" in caplog.text
    with pytest.raises(ValueError, match="two cohort scores or more, got 1"):
        as_norm(*scores, top_n=1)
    with pytest.raises(ValueError, match="use more cohort speakers"):
        s_norm(scores[0], scores[1][:, :1], scores[2][:, :1])


def test_rows_without_variance_borrow_it(scores, caplog: pytest.LogCaptureFixture) -> None:
    part, enrol, test = scores
    test[3] = 0.1  # a float that has no short binary form
    means, deviations = cohort_statistics(test)
    assert means[3] == pytest.approx(0.1) and deviations[3] == pytest.approx(np.delete(deviations, 3).mean())
    assert "1 of 9 rows have cohort scores without variance" in caplog.text
    assert np.isfinite(s_norm(part, enrol, test)).all()
    _, alike = cohort_statistics(np.zeros((2, 5)))
    assert alike.tolist() == [1.0, 1.0]


def test_statistics_do_not_change_their_input(scores) -> None:
    before = scores[1].copy()
    means, deviations = cohort_statistics(scores[1], 7)
    np.testing.assert_array_equal(scores[1], before)
    best = np.sort(before, axis=1)[:, -7:]
    np.testing.assert_allclose(means, best.mean(axis=1), rtol=1e-6)
    np.testing.assert_allclose(deviations, best.std(axis=1), rtol=1e-5)


def test_shapes_that_do_not_fit_are_refused(scores) -> None:
    part, enrol, test = scores
    for wrong in ((part.T, enrol, test), (part, enrol[:, :-1], test), (part, test, enrol), (part[0], enrol, test)):
        with pytest.raises(ValueError, match=r"expected scores \(M, K\)"):
            s_norm(*wrong)
