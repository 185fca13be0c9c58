"""PLDA against a direct evaluation of its normal densities, and EM against what it promises."""

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from steps.backend.plda import TwoCovariancePlda
from steps.backend.scatter import SpeakerScatter

E = 4


def covariance(generator: np.random.Generator, size: int = E) -> np.ndarray:
    root = generator.normal(size=(size, size))
    return root @ root.T / size + 0.2 * np.eye(size)


def model(seed: int = 0) -> TwoCovariancePlda:
    generator = np.random.default_rng(seed)
    return TwoCovariancePlda(generator.normal(size=E), covariance(generator), covariance(generator))


def draw(plda: TwoCovariancePlda, counts: np.ndarray, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    speakers = np.repeat(np.arange(len(counts)), counts)
    points = generator.multivariate_normal(plda.mean, plda.between, len(counts))
    return points[speakers] + generator.multivariate_normal(
        np.zeros(len(plda.mean)), plda.within, len(speakers)
    ), speakers


def density(plda: TwoCovariancePlda, vectors: np.ndarray) -> float:
    """Natural log of the joint density of vectors (n, E) of one speaker, as one normal of n * E dimensions."""
    count = len(vectors)
    joint = np.kron(np.ones((count, count)), plda.between) + np.kron(np.eye(count), plda.within)
    return multivariate_normal(np.tile(plda.mean, count), joint).logpdf(vectors.ravel())


@pytest.mark.parametrize("block", [2, 2048])
def test_scores_are_ratios_of_joint_densities(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("steps.backend.plda.BLOCK", block)
    plda = model()
    generator = np.random.default_rng(1)
    counts = np.array([1, 3, 1, 7, 2, 3])
    enrolments = [2 * generator.normal(size=(count, E)) for count in counts]
    tests = 2 * generator.normal(size=(5, E))
    scores = plda.score(np.array([vectors.mean(axis=0) for vectors in enrolments]), counts, tests)
    expected = [
        [
            density(plda, np.vstack([vectors, test])) - density(plda, vectors) - density(plda, test[None])
            for test in tests
        ]
        for vectors in enrolments
    ]
    assert scores.dtype == np.float32 and scores.shape == (6, 5)
    np.testing.assert_allclose(scores, expected, atol=2e-5)


def test_scores_of_one_utterance_are_symmetric() -> None:
    plda = model()
    a, b = np.random.default_rng(2).normal(size=(2, 6, E))
    ones = np.ones(6, dtype=int)
    np.testing.assert_allclose(plda.score(a, ones, b), plda.score(b, ones, a).T, atol=1e-5)


def test_singular_between_covariance_scores_too() -> None:
    plda = TwoCovariancePlda(np.zeros(E), covariance(np.random.default_rng(3)), np.diag([2.0, 1.0, 0, 0]))
    vectors = np.random.default_rng(4).normal(size=(3, E))
    expected = density(plda, vectors[:2]) - density(plda, vectors[:1]) - density(plda, vectors[1:2])
    assert plda.score(vectors[:1], np.array([1]), vectors[1:2])[0, 0] == pytest.approx(expected, abs=1e-5)
    assert plda.ratios[2:].tolist() == pytest.approx([0, 0], abs=1e-12)


def test_likelihood_is_the_sum_over_speakers() -> None:
    plda = model()
    vectors, speakers = draw(plda, np.array([1, 4, 2, 1, 3]))
    expected = sum(density(plda, vectors[speakers == speaker]) for speaker in range(5))
    assert plda.log_likelihood(vectors, speakers) == pytest.approx(expected)


def test_em_increases_the_likelihood_every_time() -> None:
    generator = np.random.default_rng(5)
    vectors, speakers = draw(model(), generator.integers(1, 6, size=40))
    found = [
        TwoCovariancePlda.fit(vectors, speakers, iterations, shrinkage=0.0).log_likelihood(vectors, speakers)
        for iterations in range(0, 40, 2)
    ]
    assert (np.diff(found) > -1e-9 * abs(found[-1])).all()
    assert found[-1] > found[0] + 0.1
    truth = model().log_likelihood(vectors, speakers)
    assert found[-1] > truth  # the best of all models is better than the one that drew them
    assert found[-1] - found[-2] < 0.1 * (found[1] - found[0])


def test_with_shrinkage_em_increases_the_posterior_density() -> None:
    vectors, speakers = draw(model(), np.array([3, 1, 5, 2] * 6))
    scatter, share = SpeakerScatter.of(vectors, speakers), 0.3 / 0.7
    within = np.trace(scatter.within) / scatter.freedom
    between = np.trace(np.cov(scatter.means.T, bias=True)) - np.mean(1 / scatter.counts) * within

    def posterior(plda: TwoCovariancePlda) -> float:
        """Up to a constant; the priors weigh 3 / 7 of the utterances and of the speakers."""
        total = plda.log_likelihood(vectors, speakers)
        for matrix, weight, trace in ((plda.within, 66, within), (plda.between, 24, between)):
            penalty = np.linalg.slogdet(matrix)[1] + np.trace(np.linalg.inv(matrix)) * trace / E
            total -= 0.5 * share * weight * penalty
        return total

    found = [posterior(TwoCovariancePlda.fit(vectors, speakers, iterations, shrinkage=0.3)) for iterations in range(25)]
    assert (np.diff(found) > -1e-9 * abs(found[-1])).all()
    assert found[-1] > found[0] + 0.1


def test_em_ends_where_no_neighbour_is_better() -> None:
    vectors, speakers = draw(model(), np.array([3, 1, 5, 2] * 10))
    plda = TwoCovariancePlda.fit(vectors, speakers, 400, shrinkage=0.0)
    best = plda.log_likelihood(vectors, speakers)
    generator = np.random.default_rng(6)
    for _ in range(50):
        change = [0.02 * generator.normal(size=shape) for shape in ((E,), (E, E), (E, E))]
        within = (np.eye(E) + change[1]) @ plda.within @ (np.eye(E) + change[1]).T
        between = (np.eye(E) + change[2]) @ plda.between @ (np.eye(E) + change[2]).T
        assert TwoCovariancePlda(plda.mean + change[0], within, between).log_likelihood(vectors, speakers) < best


@pytest.mark.parametrize("shrinkage", [None, 0.0])
def test_known_covariances_are_found(shrinkage: float | None) -> None:
    plda = model()
    counts = np.random.default_rng(7).integers(1, 8, size=8000)
    found = TwoCovariancePlda.fit(*draw(plda, counts), 20, shrinkage)
    np.testing.assert_allclose(found.mean, plda.mean, atol=0.06)
    np.testing.assert_allclose(found.within, plda.within, atol=0.05)
    np.testing.assert_allclose(found.between, plda.between, atol=0.08)


def test_invertible_maps_change_no_score() -> None:
    generator = np.random.default_rng(8)
    vectors, speakers = draw(model(), np.array([2, 1, 4, 3] * 8))
    turn, shift = generator.normal(size=(E, E)), generator.normal(size=E)
    enrol, tests, counts = vectors[:4], vectors[4:12], np.array([1, 2, 2, 5])
    one = TwoCovariancePlda.fit(vectors, speakers, 5, shrinkage=0.0).score(enrol, counts, tests)
    mapped = TwoCovariancePlda.fit(vectors @ turn + shift, speakers, 5, shrinkage=0.0)
    np.testing.assert_allclose(mapped.score(enrol @ turn + shift, counts, tests @ turn + shift), one, atol=1e-4)


def test_few_utterances_in_many_dimensions() -> None:
    generator = np.random.default_rng(9)
    truth = TwoCovariancePlda(np.zeros(60), np.eye(60), np.eye(60))
    plda = TwoCovariancePlda.fit(*draw(truth, np.full(10, 3)))
    assert np.linalg.eigvalsh(plda.within)[0] > 0.1
    points = generator.normal(size=(30, 60))
    enrol, tests = (points + generator.normal(size=(30, 60)) for _ in range(2))
    scores = plda.score(enrol, np.ones(30, int), tests)
    assert scores.diagonal().mean() > 0 > scores[~np.eye(30, dtype=bool)].mean()
    assert (scores.argmax(axis=1) == np.arange(30)).mean() > 0.9
    with pytest.raises(ValueError, match="60 dimensions has no inverse"):
        TwoCovariancePlda.fit(*draw(truth, np.full(10, 3)), shrinkage=0.0)


def test_one_utterance_each_is_an_error() -> None:
    vectors = np.random.default_rng(10).normal(size=(6, E))
    with pytest.raises(ValueError, match="a speaker with two utterances, got 6 utterances of 6 speakers"):
        TwoCovariancePlda.fit(vectors, list("abcdef"))
    with pytest.raises(ValueError, match="counts of utterances of 1 or more"):
        model().score(vectors[:2], np.array([1, 0]), vectors)


def test_adaptation_shares_out_the_excess_only() -> None:
    plda = TwoCovariancePlda(np.zeros(2), np.diag([1.0, 3.0]), np.diag([2.0, 1.0]))  # total: 3 and 4
    corners = np.array([[1, 1], [1, -1], [-1, 1], [-1, -1]])
    vectors = corners * np.sqrt([12.0, 1.0])  # variances 12 and 1: three and no excess of the first and second
    adapted = plda.adapt(vectors, across_scale=0.25, within_scale=0.5)
    np.testing.assert_allclose(adapted.between, np.diag([2 + 0.25 * 9, 1]), atol=1e-12)
    np.testing.assert_allclose(adapted.within, np.diag([1 + 0.5 * 9, 3]), atol=1e-12)
    moved = plda.adapt(vectors + np.array([0, 3]), 0.25, 0.5)  # the shift counts as variance: 1 + 9
    np.testing.assert_allclose(moved.between, np.diag([2 + 0.25 * 9, 1 + 0.25 * 6]), atol=1e-12)
    np.testing.assert_allclose(moved.mean, [0, 3], atol=1e-12)
    np.testing.assert_allclose(plda.adapt(vectors + np.array([0, 3]), 0.25, 0.5, shift_scale=0).within, adapted.within)
    with pytest.raises(ValueError, match="at least two vectors"):
        plda.adapt(vectors[:1])


def test_adaptation_to_its_own_domain_changes_little_and_to_another_helps() -> None:
    plda = model()
    same, _ = draw(plda, np.full(4000, 2), seed=11)
    np.testing.assert_allclose(plda.adapt(same).within, plda.within, atol=0.1)
    other = TwoCovariancePlda(plda.mean + 2, 2 * plda.within, 2 * plda.between)
    vectors, speakers = draw(other, np.full(4000, 2), seed=12)
    adapted = plda.adapt(vectors, 0.5, 0.5, shift_scale=0.0)
    assert adapted.log_likelihood(vectors, speakers) > plda.log_likelihood(vectors, speakers) + 1000
    np.testing.assert_allclose(
        adapted.between + adapted.within, 2 * (plda.between + plda.within), atol=0.15
    )  # all of the excess is given away
