"""The i-vector against its closed form written out as loops; padding, silence and short utterances."""

import pytest
import torch
from torch.distributions import MultivariateNormal

from steps.models.config import IvectorConfig
from steps.models.ivector import IvectorExtractor, symmetric, triangle

BINS, GAUSSIANS, DIM, EMBEDDING = 8, 5, 9, 4  # DIM: 3 cepstra with their differences


def extractor_of(full: bool, prior_offset: float = 0.0, top_k: int = 0) -> IvectorExtractor:
    """An extractor with random parameters, in float64."""
    config = IvectorConfig(
        num_ceps=3, num_gauss=GAUSSIANS, embedding_dim=EMBEDDING, full_covariance=full, top_k=top_k, cmn_window=20
    )
    generator = torch.Generator().manual_seed(4)
    model = IvectorExtractor(config, BINS).double()

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    factors = 0.4 * draw(GAUSSIANS, DIM, DIM)
    covariances = factors @ factors.transpose(1, 2) + 0.5 * torch.eye(DIM)
    weights = torch.full((GAUSSIANS,), 1.0 / GAUSSIANS)
    model.ubm.set(weights, draw(GAUSSIANS, DIM), covariances if full else covariances.diagonal(dim1=1, dim2=2))
    model.subspace.loadings.copy_(0.3 * draw(GAUSSIANS, DIM, EMBEDDING))
    model.subspace.offsets.copy_(0.1 * draw(GAUSSIANS, DIM))
    model.subspace.prior_offset.fill_(prior_offset)
    return model.eval()


def posterior_mean(model: IvectorExtractor, frames: torch.Tensor) -> torch.Tensor:
    """E[w] - E_prior[w] for frames (n, D) of speech, a frame and a Gaussian at a time."""
    ubm, prior = model.ubm, torch.zeros(EMBEDDING).double()
    prior[0] = model.subspace.prior_offset
    covariances = ubm.covariances if ubm.full else torch.diag_embed(ubm.covariances)
    factors = torch.linalg.cholesky(covariances)
    precision, linear = torch.eye(EMBEDDING).double(), prior.clone()
    densities = [MultivariateNormal(mean, c) for mean, c in zip(ubm.means, covariances, strict=True)]
    for x in frames:
        joint = torch.stack([w * d.log_prob(x).exp() for w, d in zip(ubm.weights, densities, strict=True)])
        for g, gamma in enumerate(joint / joint.sum()):
            t = factors[g] @ model.subspace.loadings[g]  # the paper's T
            mean = ubm.means[g] + factors[g] @ model.subspace.offsets[g]
            precision += gamma * t.T @ covariances[g].inverse() @ t
            linear += gamma * t.T @ covariances[g].inverse() @ (x - mean)
    return torch.linalg.solve(precision, linear) - prior


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("prior_offset", [0.0, 10.0])
def test_it_is_the_posterior_mean(full, prior_offset):
    model, features = extractor_of(full, prior_offset), torch.randn(1, 30, BINS).double()
    frames, mask = model.frames(features)
    torch.testing.assert_close(model(features)[0], posterior_mean(model, frames[mask]), atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("top_k", [0, 2])
def test_an_utterance_does_not_depend_on_its_batch(full, top_k):
    """In float32, and whether or not the mean of each mel bin was taken off before."""
    model = extractor_of(full, top_k=top_k).float()
    utterances = [torch.randn(1, frames, BINS) * 2 for frames in (37, 1, 64)]
    padded = torch.cat([torch.nn.functional.pad(x, (0, 0, 0, 64 - x.shape[1]), value=7.0) for x in utterances])
    together = model(padded, torch.tensor([37, 1, 64]))
    assert together.shape == (3, model.embedding_dim)
    for row, x in zip(together, utterances, strict=True):
        torch.testing.assert_close(model(x)[0], row, atol=1e-5, rtol=0)
        torch.testing.assert_close(model(x - x.mean(dim=1, keepdim=True))[0], row, atol=1e-4, rtol=0)


def test_long_utterances_go_through_in_blocks(monkeypatch):
    model, features = extractor_of(full=False), torch.randn(3, 50, BINS).double()
    whole = model(features)
    monkeypatch.setattr("steps.models.ivector.BLOCK", 7)
    torch.testing.assert_close(model(features), whole)


def test_silence_one_frame_and_none():
    """Silence counts with all its frames, which are 0 after the short-time mean, as is a single frame."""
    model = extractor_of(full=False, prior_offset=10.0)
    silence = torch.full((1, 50, BINS), -15.9).double()
    torch.testing.assert_close(model(silence)[0], posterior_mean(model, torch.zeros(50, DIM).double()))
    torch.testing.assert_close(model(silence[:, :1])[0], posterior_mean(model, torch.zeros(1, DIM).double()))
    assert torch.equal(model(silence, torch.tensor([0]))[0], torch.zeros(EMBEDDING).double())


def test_weights_travel_in_a_state_dict():
    model, features = extractor_of(full=True, prior_offset=3.0).float(), torch.randn(2, 20, BINS)
    other = IvectorExtractor(model.config, BINS)
    other(features)  # derives what must be forgotten
    other.load_state_dict(model.state_dict())
    assert torch.equal(other(features), model(features))
    shapes = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    assert shapes == {
        "ubm.weights": (GAUSSIANS,),
        "ubm.means": (GAUSSIANS, DIM),
        "ubm.covariances": (GAUSSIANS, DIM, DIM),
        "subspace.loadings": (GAUSSIANS, DIM, EMBEDDING),
        "subspace.offsets": (GAUSSIANS, DIM),
        "subspace.prior_offset": (),
    }


def test_triangles_hold_symmetric_matrices():
    x = torch.randn(3, 5, 5)
    x = x + x.transpose(1, 2)
    assert triangle(x).shape == (3, 15)
    assert torch.equal(symmetric(triangle(x), 5), x)


@pytest.mark.parametrize(
    ("values", "message"),
    [({"num_gauss": 0}, "num_gauss must be 1 or more"), ({"top_k": -1}, "top_k"), ({"variance_floor": 1.0}, "a share")],
)
def test_config_says_what_is_wrong(values, message):
    with pytest.raises(ValueError, match=rf"ivector\..*{message}" if "share" not in message else message):
        IvectorConfig(**values)
