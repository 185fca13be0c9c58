"""EM of T: monotone marginal likelihood, known subspaces found again, seeded, streamed."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from torch.distributions import MultivariateNormal

from steps.models.config import IvectorConfig
from steps.models.ivector import TotalVariability
from steps.training import ivector_em
from steps.training.ivector_em import (
    StatisticsStore,
    em_step,
    expectations,
    initialise,
    minimise_divergence,
    reflection,
    train_extractor,
    train_subspace,
)

GAUSSIANS, DIM, EMBEDDING = 6, 4, 3
MEANS = torch.randn(GAUSSIANS, DIM, generator=torch.Generator().manual_seed(8)).double()


def synthetic(utterances: int, seed: int = 0, frames: float = 40.0) -> tuple[list, torch.Tensor]:
    """Statistics drawn from a model, in two batches, and its loadings (G, D, E)."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    loadings, mean = draw(GAUSSIANS, DIM, EMBEDDING), 0.5 * draw(GAUSSIANS, DIM)
    zeroth = frames * torch.rand(utterances, GAUSSIANS, generator=generator, dtype=torch.float64) + 1.0
    shift = mean + torch.einsum("gde,ne->ngd", loadings, draw(utterances, EMBEDDING))
    first = zeroth.unsqueeze(2) * shift + zeroth.sqrt().unsqueeze(2) * draw(utterances, GAUSSIANS, DIM)
    half = utterances // 2
    return [(zeroth[:half], first[:half]), (zeroth[half:], first[half:])], loadings


def new_model(prior_offset: float, seed: int = 0) -> TotalVariability:
    model = TotalVariability(GAUSSIANS, DIM, EMBEDDING).double()
    initialise(model, MEANS, prior_offset, seed)
    return model


@pytest.mark.parametrize("prior_offset", [0.0, 20.0])
def test_likelihood_is_the_marginal_density(prior_offset):
    """First-order statistics are normal given w, so they are normal with w integrated out: compare densities."""
    statistics, _ = synthetic(6)
    model = new_model(prior_offset)
    total = 0.0
    stacked = model.loadings.flatten(0, 1)  # (G D, E)
    for zeroth, first in statistics:
        for n, f in zip(zeroth, first, strict=True):
            counts = n.repeat_interleave(DIM)
            noise = torch.diag(1.0 / counts)
            mean = model.offsets.flatten() + stacked @ model.prior_mean()
            observed = f.flatten() / counts
            with_w = MultivariateNormal(mean, noise + stacked @ stacked.T).log_prob(observed)
            total += float(with_w - MultivariateNormal(torch.zeros_like(mean), noise).log_prob(observed))
    assert expectations(model, statistics).log_likelihood == pytest.approx(total, rel=1e-9)


@pytest.mark.parametrize("prior_offset", [0.0, 20.0])
def test_log_likelihood_never_falls(prior_offset):
    statistics, _ = synthetic(60)
    model = new_model(prior_offset)
    curve = [em_step(model, statistics) for _ in range(30)]
    assert all(after >= before - 1e-12 for before, after in pairwise(curve))
    assert curve[-1] > curve[0]


@pytest.mark.parametrize("prior_offset", [0.0, 20.0])
def test_change_of_coordinates_keeps_the_model(prior_offset):
    """The means of the Gaussians under the new prior are distributed as they were under the estimated one."""
    model = new_model(prior_offset)
    stacked, offsets = model.loadings.flatten(0, 1).clone(), model.offsets.flatten().clone()
    mean = torch.tensor([3.0, -1.0, 0.5]).double()
    factor = torch.randn(3, 3, generator=torch.Generator().manual_seed(2)).double()
    spread = factor @ factor.T + 0.1 * torch.eye(3)
    minimise_divergence(model, mean, spread + torch.outer(mean, mean))
    after = model.loadings.flatten(0, 1)
    torch.testing.assert_close(after @ after.T, stacked @ spread @ stacked.T)
    torch.testing.assert_close(model.offsets.flatten() + after @ model.prior_mean(), offsets + stacked @ mean)
    assert (model.prior_offset > 0) == (prior_offset > 0)


def test_a_reflection_swaps_its_vector_and_the_first_axis():
    for vector in (torch.tensor([0.6, 0.0, -0.8]), torch.tensor([1.0, 0.0, 0.0])):
        matrix = reflection(vector.double())
        torch.testing.assert_close(matrix @ vector.double(), torch.tensor([1.0, 0.0, 0.0]).double())
        torch.testing.assert_close(matrix @ matrix.T, torch.eye(3).double())


def test_a_known_subspace_is_found():
    """Largest principal angle between the true and the estimated column spaces below 3 degrees."""
    statistics, loadings = synthetic(2000)
    subspace = TotalVariability(GAUSSIANS, DIM, EMBEDDING)
    curve = train_subspace(subspace, MEANS, statistics, IvectorConfig(iterations=15), seed=0)
    bases = [torch.linalg.qr(x.double().flatten(0, 1)).Q for x in (loadings, subspace.loadings)]
    cosines = torch.linalg.svdvals(bases[0].T @ bases[1])
    assert np.degrees(np.arccos(cosines.min().clamp(max=1).item())) < 3.0
    # Not only the directions: the covariance of the means too, to within its error from 2000 draws.
    covariances = [x.double().flatten(0, 1) @ x.double().flatten(0, 1).T for x in (loadings, subspace.loadings)]
    assert (covariances[0] - covariances[1]).norm() < 0.1 * covariances[0].norm()
    assert len(curve) == 15


def test_gaussians_without_frames_keep_their_loadings():
    statistics, _ = synthetic(20)
    statistics = [(zeroth.index_fill(1, torch.tensor(2), 0.0), first) for zeroth, first in statistics]
    statistics = [(zeroth, first.index_fill(1, torch.tensor(2), 0.0)) for zeroth, first in statistics]
    model = new_model(0.0)
    curve = [em_step(model, statistics) for _ in range(5)]
    assert model.loadings.isfinite().all()
    assert curve == sorted(curve)
    with pytest.raises(ValueError, match="no utterance was given"):
        em_step(model, [])


def test_statistics_go_to_disk_and_back(tmp_path, monkeypatch):
    monkeypatch.setattr(ivector_em, "CHUNK", 7)
    store, batches = StatisticsStore(tmp_path), [torch.rand(n, 3, 2) for n in (1, 5, 20, 2)]
    for batch in batches:
        store.add(batch[:, :, 0], batch)
    store.close()
    for _ in range(2):
        chunks = list(store)
        assert max(len(zeroth) for zeroth, _ in chunks) <= 7
        assert torch.equal(torch.cat([first for _, first in chunks]), torch.cat(batches))
        assert torch.equal(torch.cat([zeroth for zeroth, _ in chunks]), torch.cat(batches)[:, :, 0])
    assert (store.utterances, store.bytes) == (28, 28 * 9 * 4)


def voices(count: int, speakers: int) -> list[dict]:
    """Batches of 4 noisy utterances (T, 8), each with the spectral envelopes of one of `speakers`."""
    batches = []
    for start in range(0, count, 4):
        rows = []
        for n in range(start, start + 4):
            generator, voice = torch.Generator().manual_seed(n), torch.Generator().manual_seed(1000 + n % speakers)
            sounds = 2.0 * torch.randn(6, 8, generator=torch.Generator().manual_seed(99))  # the same for all
            sounds = sounds + 0.7 * torch.randn(6, 8, generator=voice)
            order = torch.randint(6, (20,), generator=generator).repeat_interleave(4)
            rows.append(sounds[order] + 0.5 * torch.randn(80, 8, generator=generator))
        batch = {"ids": [f"u{n}" for n in range(start, start + 4)], "features": torch.stack(rows)}
        batches.append({**batch, "lengths": torch.tensor([80, 80, 80, 77])})
    return batches


CONFIG = IvectorConfig(
    num_ceps=5, delta_window=2, num_gauss=8, top_k=3, embedding_dim=6, ubm_frames=2000, kmeans_frames=1000, iterations=4
)


def test_from_features_to_vectors_that_tell_voices_apart(tmp_path):
    batches = voices(40, 5)
    extractor = train_extractor(lambda: batches, 40, CONFIG, 8, 0, torch.device("cpu"), tmp_path)
    assert list(tmp_path.iterdir()) == []  # the statistics are gone
    vectors = torch.cat([extractor(batch["features"], batch["lengths"]) for batch in voices(80, 5)])[40:]
    vectors = torch.nn.functional.normalize(vectors - vectors.mean(dim=0), dim=1)
    cosines, same = vectors @ vectors.T, torch.arange(40).unsqueeze(1) % 5 == torch.arange(40) % 5
    off_diagonal = ~torch.eye(40, dtype=torch.bool)
    assert cosines[same & off_diagonal].mean() > cosines[~same].mean() + 0.5


def test_training_is_seeded_and_independent_of_batching(tmp_path):
    def train(batches: list[dict], seed: int) -> dict:
        return train_extractor(lambda: batches, 24, CONFIG, 8, seed, torch.device("cpu"), tmp_path).state_dict()

    batches = voices(24, 3)
    first, again, other = train(batches, 0), train(batches, 0), train(batches, 1)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["subspace.loadings"], other["subspace.loadings"])
    singles = [
        {"ids": [name], "features": x[None, :length], "lengths": length[None]}
        for batch in batches
        for name, x, length in zip(batch["ids"], batch["features"], batch["lengths"], strict=True)
    ]
    apart = train(singles, 0)
    for name, value in first.items():
        torch.testing.assert_close(apart[name], value, atol=1e-3, rtol=1e-3)
