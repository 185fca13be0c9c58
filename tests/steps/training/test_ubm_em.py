"""EM of the background model: monotone, floored, seeded, and right where the answer is known."""

from itertools import pairwise

import pytest
import torch

from steps.models.config import IvectorConfig
from steps.models.gaussian_mixture import GaussianMixture
from steps.training import ubm_em
from steps.training.ubm_em import clusters, em_step, floored, global_variance, train_ubm, with_full_covariances


def blobs(frames: int, means: torch.Tensor, seed: int = 0) -> torch.Tensor:
    """(frames, D) float64: equal shares of correlated Gaussians around means (G, D)."""
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.tensor([[1.0, 0.6], [0.0, 0.5]], dtype=torch.float64)
    noise = torch.randn(frames, 2, generator=generator, dtype=torch.float64) @ mixing
    return means.double()[torch.arange(frames) % len(means)] + noise


MEANS = torch.tensor([[0.0, 0.0], [8.0, 0.0], [0.0, 9.0], [-7.0, -7.0]])


@pytest.mark.parametrize("full", [False, True])
def test_log_likelihood_never_falls(full):
    frames = blobs(3000, torch.randn(9, 2, generator=torch.Generator().manual_seed(5)) * 3)
    floor = 0.01 * global_variance(frames)
    mixture = GaussianMixture(6, 2, full=False).double()
    mixture.set(*clusters(frames, 6, 1, floor, torch.Generator().manual_seed(0)))
    if full:
        mixture = with_full_covariances(mixture)
    curve = [em_step(mixture, frames, floor)[0] for _ in range(25)]
    assert all(after >= before - 1e-12 for before, after in pairwise(curve))
    assert curve[-1] > curve[0] + 0.01


def test_recovers_a_mixture():
    frames = blobs(8000, MEANS)
    config = IvectorConfig(num_gauss=4, top_k=0, kmeans_iterations=5, diagonal_iterations=5, full_iterations=5)
    mixture = train_ubm(frames, config, seed=1)
    order = torch.cdist(MEANS.double(), mixture.means).argmin(dim=1)
    assert sorted(order.tolist()) == [0, 1, 2, 3]
    torch.testing.assert_close(mixture.means[order], MEANS.double(), atol=0.1, rtol=0)
    torch.testing.assert_close(mixture.weights, torch.full((4,), 0.25).double(), atol=0.01, rtol=0)
    expected = torch.tensor([[1.0, 0.6], [0.6, 0.61]]).double().expand(4, 2, 2)
    torch.testing.assert_close(mixture.covariances, expected, atol=0.1, rtol=0)


def test_one_gaussian_has_the_sample_moments():
    frames = blobs(500, MEANS)
    mixture = train_ubm(frames, IvectorConfig(num_gauss=1, diagonal_iterations=1, full_iterations=1), seed=0)
    torch.testing.assert_close(mixture.means[0], frames.mean(dim=0))
    torch.testing.assert_close(mixture.covariances[0], frames.T.cov(correction=0))


def test_the_seed_decides():
    frames = blobs(1000, MEANS).float()
    config = IvectorConfig(num_gauss=8, full_covariance=False, kmeans_frames=300)
    first, again, other = (train_ubm(frames, config, seed).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["means"], other["means"])


def test_empty_components_stay_defined():
    """A Gaussian far from all frames keeps its place; the likelihood goes on rising."""
    frames = blobs(400, MEANS[:2])
    floor = 0.01 * global_variance(frames)
    mixture = GaussianMixture(3, 2, full=False).double()
    mixture.set(torch.full((3,), 1 / 3), torch.tensor([[0.0, 0], [8, 0], [1000, 1000]]), torch.ones(3, 2))
    before, poor = em_step(mixture, frames, floor)
    assert poor == 1
    assert mixture.means[2].tolist() == [1000.0, 1000.0]
    assert em_step(mixture, frames, floor)[0] > before
    assert mixture.posteriors(frames)[0].isfinite().all()


def test_empty_clusters_start_again_where_frames_are_far(monkeypatch):
    frames = torch.cat([torch.zeros(300, 2), torch.randn(40, 2) * 0.01 + 50.0]).double()
    monkeypatch.setattr(torch, "randperm", lambda count, generator: torch.arange(count))  # all centres at the origin
    floor = torch.full((2,), 1e-6).double()
    weights, means, variances = clusters(frames, 3, 3, floor, torch.Generator())
    assert (means[:, 0] > 49).any()
    assert weights.sum().item() == pytest.approx(1.0)
    assert (variances >= floor).all()


def test_variances_are_floored_in_every_direction():
    covariance = torch.tensor([[[1.0, 0.999], [0.999, 1.0]]]).double()
    floor = torch.tensor([0.1, 0.4]).double()
    result = floored(covariance, floor)
    scaled = result[0] / floor.sqrt() / floor.sqrt().unsqueeze(1)
    assert torch.linalg.eigvalsh(scaled)[0].item() == pytest.approx(1.0)
    torch.testing.assert_close(floored(result, floor), result)


def test_blocks_change_nothing(monkeypatch):
    frames, results = blobs(500, MEANS), []
    for block in (16384, 33):
        monkeypatch.setattr(ubm_em, "BLOCK", block)
        results.append(train_ubm(frames, IvectorConfig(num_gauss=4, top_k=2), seed=0).state_dict())
    for name, value in results[0].items():
        torch.testing.assert_close(results[1][name], value)


def test_too_little_speech_says_what_to_do():
    with pytest.raises(ValueError, match=r"30 frames of speech train 3 Gaussians at most, and ivector\.num_gauss is 4"):
        train_ubm(torch.randn(30, 2), IvectorConfig(num_gauss=4), seed=0)
    with pytest.raises(ValueError, match="is their audio silence"):
        train_ubm(torch.zeros(100, 2), IvectorConfig(num_gauss=4), seed=0)
