"""LDA against its definition, on data whose best directions are known."""

import numpy as np
import pytest

from steps.backend.lda import Lda
from steps.backend.scatter import SpeakerScatter, oracle_shrinkage, shrunk


def speech(speakers: int, utterances: int, between: np.ndarray, within: np.ndarray, seed: int = 0):
    generator = np.random.default_rng(seed)
    points = generator.multivariate_normal(np.zeros(len(between)), between, speakers)
    noise = generator.multivariate_normal(np.zeros(len(within)), within, speakers * utterances)
    return np.repeat(points, utterances, axis=0) + noise, np.repeat(np.arange(speakers), utterances)


def test_scatter_is_the_sum_over_speakers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("steps.backend.scatter.BLOCK", 7)
    generator = np.random.default_rng(0)
    vectors = generator.normal(size=(40, 5)).astype(np.float32)
    names = np.array([f"S{n}" for n in generator.integers(6, size=39)] + ["alone"])
    scatter = SpeakerScatter.of(vectors, names.tolist())
    groups = [vectors[names == name].astype(float) for name in sorted(set(names))]
    assert scatter.counts.tolist() == [len(group) for group in groups]
    np.testing.assert_allclose(scatter.means, [group.mean(axis=0) for group in groups], rtol=1e-12)
    within = sum(len(group) * np.cov(group.T, bias=True) for group in groups)
    np.testing.assert_allclose(scatter.within, within, rtol=1e-10)
    assert scatter.freedom == 40 - len(groups)


def test_projection_whitens_speakers_and_keeps_the_best_directions() -> None:
    between = np.diag([9.0, 4.0, 0.01, 0.01])
    vectors, speakers = speech(3000, 10, between, np.eye(4))
    turn = np.random.default_rng(1).normal(size=(4, 4))
    lda = Lda.fit(vectors @ turn, speakers, 2, shrinkage=0.0)
    scatter = SpeakerScatter.of(lda.transform(vectors @ turn), speakers)
    np.testing.assert_allclose(scatter.within / scatter.freedom, np.eye(2), atol=1e-9)
    # Directions of the mixed data lead back to the first two of the plain.
    plain = turn @ lda.projection
    assert np.abs(plain[2:]).max() < 0.1 * np.abs(plain[:2]).max()
    assert lda.ratios == pytest.approx([9.1, 4.1], rel=0.1)  # 0.1: what ten utterances leave in a mean


def test_ratio_is_the_most_that_any_direction_has() -> None:
    vectors, speakers = speech(30, 4, np.diag([3.0, 1.0, 2.0]), np.array([[2, 0.5, 0], [0.5, 1, 0.3], [0, 0.3, 1]]))
    lda = Lda.fit(vectors, speakers, 3, shrinkage=0.0)

    def ratio(direction: np.ndarray) -> float:
        line = vectors @ direction
        means = np.array([line[speakers == s].mean() for s in range(30)])
        return means.var() / (np.mean((line - means[speakers]) ** 2) * 120 / 90)

    assert ratio(lda.projection[:, 0]) == pytest.approx(lda.ratios[0])
    tried = np.random.default_rng(2).normal(size=(2000, 3))
    assert max(ratio(direction) for direction in tried) <= lda.ratios[0] * (1 + 1e-9)


def test_invertible_maps_change_nothing() -> None:
    vectors, speakers = speech(20, 5, np.eye(6), np.eye(6))
    turn = np.random.default_rng(3).normal(size=(6, 6))
    one = Lda.fit(vectors, speakers, 3, shrinkage=0.0).transform(vectors)
    other = Lda.fit(vectors @ turn, speakers, 3, shrinkage=0.0).transform(vectors @ turn)
    np.testing.assert_allclose(one @ one.T, other @ other.T, atol=1e-8)


def test_dimensions_are_capped_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    vectors, speakers = speech(5, 20, np.eye(8), np.eye(8))
    assert Lda.fit(vectors, speakers, 6).projection.shape == (8, 4)
    assert "LDA to 4 dimensions, not 6: 5 speakers in 8 dimensions" in caplog.text
    caplog.clear()
    assert Lda.fit(vectors, speakers, 4).projection.shape == (8, 4)
    assert not caplog.records


def test_fewer_utterances_than_dimensions() -> None:
    vectors, speakers = speech(6, 3, 4 * np.eye(50), np.eye(50))
    lda = Lda.fit(vectors, speakers, 5)
    assert lda.projection.shape == (50, 5) and np.isfinite(lda.projection).all()
    fresh, _ = speech(6, 50, 4 * np.eye(50), np.eye(50))  # the same seed draws the same speakers
    means = np.array([fresh[50 * n : 50 * n + 50].mean(axis=0) for n in range(6)])
    near = np.linalg.norm(lda.transform(vectors)[:, None] - lda.transform(means), axis=2).argmin(axis=1)
    assert (near == speakers).all()
    with pytest.raises(ValueError, match="18 utterances in 50 dimensions has no inverse"):
        Lda.fit(vectors, speakers, 5, shrinkage=0.0)


def test_speakers_with_one_utterance() -> None:
    vectors, speakers = speech(10, 5, np.eye(3), np.eye(3))
    with_one = Lda.fit(np.vstack([vectors, [[9.0, 0, 0]]]), np.append(speakers, 77), 2, shrinkage=0.0)
    assert np.isfinite(with_one.projection).all()
    for names in (np.arange(50), np.zeros(50)):
        with pytest.raises(ValueError, match="two speakers and a speaker with two utterances, got 50 utterances of"):
            Lda.fit(vectors, names, 2)
    with pytest.raises(ValueError, match="equal embeddings"):
        Lda.fit(np.repeat(np.eye(3), 2, axis=0), np.repeat([0, 1, 2], 2), 2)
    with pytest.raises(ValueError, match=r"got \(50, 3\) and 49"):
        Lda.fit(vectors, speakers[:-1], 2)


def test_shrinkage_brings_covariances_nearer_to_the_truth() -> None:
    truth = np.diag(np.linspace(0.5, 2.0, 40))
    generator = np.random.default_rng(4)
    errors = {None: 0.0, 0.0: 0.0, 1.0: 0.0}
    for _ in range(20):
        vectors = generator.multivariate_normal(np.zeros(40), truth, 30)
        sample = vectors.T @ vectors / 30
        for amount in errors:
            errors[amount] += float(np.sum((shrunk(sample, 30, amount) - truth) ** 2))
    assert errors[None] < min(errors[0.0], errors[1.0])
    assert oracle_shrinkage(truth, 10**6) < 1e-3
    assert oracle_shrinkage(np.outer(np.ones(40), np.ones(40)), 1) == 1.0  # one vector has no covariance
    assert oracle_shrinkage(np.eye(3), 100) == 1.0  # it is what would be shrunk to
