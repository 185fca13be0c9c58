"""Open-set identification against loops over single tests and closed forms of Gaussian scores."""

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm

from steps.metrics.identification import Fold, make_folds, open_set

NAMES = [f"S{n:02}" for n in range(24)]


def matrix(tests: int, separation: float, seed: int = 0, unknown: int = 3):
    """Independent Gaussian scores (24, K), the speakers of models and of tests; the last ones have no model."""
    rng = np.random.default_rng(seed)
    owners = np.repeat([*NAMES, *(f"U{n}" for n in range(unknown))], tests)
    scores = rng.normal(size=(len(NAMES), len(owners))) + separation * (np.array(NAMES)[:, None] == owners)
    order = rng.permutation(len(owners))
    return scores[:, order].astype(np.float32), owners[order].tolist()


def by_hand(scores, models, tests, gallery, unknown, fpir):
    """Rank-1 and DIR from one test at a time, the threshold from all scores there are."""
    impostors, known = [], []
    for column, speaker in enumerate(tests):
        row = max((models.index(name) for name in gallery), key=lambda row: scores[row, column])
        if speaker in gallery:
            known.append((scores[row, column], models[row] == speaker))
        elif speaker in unknown or speaker not in models:
            impostors.append(scores[row, column])
    allowed = [t for t in [*(s for s, _ in known), *impostors, np.inf] if np.mean(np.array(impostors) >= t) <= fpir]
    threshold = min(allowed)
    return (
        np.mean([right for _, right in known]),
        np.mean([right and score >= threshold for score, right in known]),
        (len(known), len(impostors)),
    )


def test_figures_against_loops() -> None:
    scores, tests = matrix(7, 2.0)
    folds = make_folds(NAMES, 3, 0.5, seed=4)
    results = open_set(scores, NAMES, tests, folds, [5, 8, 100], [0.1, 0.02])
    assert [result.gallery for result in results] == [5, 8, 12]
    for result in results:
        for fpir in (0.1, 0.02):
            hand = [by_hand(scores, NAMES, tests, f.known[: result.gallery], f.unknown, fpir) for f in folds]
            assert result.rank1 == pytest.approx([rank1 for rank1, _, _ in hand])
            assert result.dir[fpir] == pytest.approx([rate for _, rate, _ in hand])
            assert result.mean(fpir) == pytest.approx(np.mean([rate for _, rate, _ in hand]))
            assert (result.known_tests, result.unknown_tests) == hand[0][2] == (7 * result.gallery, 7 * 15)


def test_gaussian_scores_have_closed_forms() -> None:
    separation, fpir = 3.0, 0.05
    scores, tests = matrix(400, separation)
    results = open_set(scores, NAMES, tests, make_folds(NAMES, 4, 0.25, 0), [2, 6], [fpir])
    assert [result.gallery for result in results] == [2, 6, 18]
    for result in results:
        # The best of N - 1 wrong scores lies below s with probability Phi(s)^(N - 1); FPIR = 1 - (1 - FAR)^N.
        others = result.gallery - 1
        threshold = norm.isf(-np.expm1(np.log1p(-fpir) / result.gallery))
        for measured, start in ((result.mean_rank1, -9.0), (result.mean(fpir), threshold)):
            share, _ = quad(lambda s, n=others: norm.pdf(s - separation) * norm.cdf(s) ** n, start, 12)
            assert measured == pytest.approx(share, abs=0.02)


def test_folds_are_seeded_disjoint_and_complete() -> None:
    folds = make_folds(NAMES * 2, 5, 0.5, seed=0)
    assert all(sorted(fold.known + fold.unknown) == NAMES and len(fold.known) == 12 for fold in folds)
    assert make_folds(NAMES[::-1], 5, 0.5, seed=0) == folds
    assert make_folds(NAMES, 3, 0.5, seed=0) == folds[:3]
    assert make_folds(NAMES, 5, 0.5, seed=1) != folds
    assert len({tuple(fold.known) for fold in folds}) == 5


def test_perfect_and_useless_scores() -> None:
    scores, tests = matrix(5, 0.0)
    right = (np.array(NAMES)[:, None] == np.array(tests)).astype(np.float32)
    folds = make_folds(NAMES, 2, 0.5, 0)
    for result in open_set(right, NAMES, tests, folds, [4], [0.1]):
        assert (result.mean_rank1, result.mean(0.1)) == (1.0, 1.0)
    flat = open_set(np.zeros_like(scores), NAMES, tests, folds, [], [0.1])[0]
    assert flat.mean(0.1) == 0.0  # to accept one is to accept all


def test_too_few_unknown_tests_give_no_figure() -> None:
    scores, tests = matrix(2, 3.0, unknown=0)
    result = open_set(scores, NAMES, tests, make_folds(NAMES, 3, 0.5, 0), [], [0.01, 0.1])[0]
    assert (result.unknown_tests, result.dir[0.01], result.mean(0.01)) == (24, None, None)
    assert result.mean(0.1) is not None


def test_what_cannot_be_done_is_said() -> None:
    scores, tests = matrix(2, 3.0)
    folds = make_folds(NAMES, 1, 0.5, 0)
    with pytest.raises(ValueError, match="speaker S00 has several models"):
        open_set(np.vstack([scores, scores[:1]]), [*NAMES, "S00"], tests, folds, [], [0.1])
    with pytest.raises(ValueError, match="24 models, 53 test utterances"):
        open_set(scores, NAMES, tests[1:], folds, [], [0.1])
    with pytest.raises(ValueError, match="fold 0: no test utterance of an unknown speaker"):
        open_set(scores[:2, :2], NAMES[:2], ["S00", "S01"], [Fold(["S00", "S01"], [])], [], [0.1])
    for names, folds_wanted, share in ((NAMES[:2], 1, 0.5), (NAMES, 0, 0.5), (NAMES, 1, 0.01)):
        with pytest.raises(ValueError, match="open-set identification needs"):
            make_folds(names, folds_wanted, share, 0)
