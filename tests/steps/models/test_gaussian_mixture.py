"""The mixture against torch.distributions, one Gaussian at a time."""

import pytest
import torch
from torch.distributions import MultivariateNormal

from steps.models.gaussian_mixture import GaussianMixture


def random_mixture(full: bool, num_gauss: int = 5, dim: int = 3) -> GaussianMixture:
    generator = torch.Generator().manual_seed(1)
    mixture = GaussianMixture(num_gauss, dim, full).double()
    factors = torch.randn(num_gauss, dim, dim, generator=generator).double()
    covariances = factors @ factors.transpose(1, 2) + 0.3 * torch.eye(dim)
    if not full:
        covariances = covariances.diagonal(dim1=1, dim2=2)
    weights = torch.rand(num_gauss, generator=generator).double() + 0.1
    mixture.set(weights / weights.sum(), torch.randn(num_gauss, dim, generator=generator).double(), covariances)
    return mixture


def log_joint(mixture: GaussianMixture, x: torch.Tensor) -> torch.Tensor:
    """(T, G), by the definition."""
    covariances = mixture.covariances if mixture.full else torch.diag_embed(mixture.covariances)
    columns = [
        weight.log() + MultivariateNormal(mean, covariance).log_prob(x)
        for weight, mean, covariance in zip(mixture.weights, mixture.means, covariances, strict=True)
    ]
    return torch.stack(columns, dim=1)


@pytest.mark.parametrize("full", [False, True])
def test_posteriors_are_bayes_rule(full):
    mixture, x = random_mixture(full), torch.randn(20, 3).double()
    expected = log_joint(mixture, x)
    posteriors, log_likelihood = mixture.posteriors(x)
    torch.testing.assert_close(posteriors, expected.softmax(dim=1))
    torch.testing.assert_close(log_likelihood, expected.logsumexp(dim=1))


@pytest.mark.parametrize("full", [False, True])
def test_pruning_keeps_the_best_by_the_diagonals(full):
    mixture, x = random_mixture(full), torch.randn(20, 3).double()
    diagonal = GaussianMixture(5, 3, full=False).double()
    variances = mixture.covariances.diagonal(dim1=1, dim2=2) if full else mixture.covariances
    diagonal.set(mixture.weights, mixture.means, variances)
    chosen = log_joint(diagonal, x).topk(2, dim=1).indices
    kept = torch.full((20, 5), float("-inf")).double()
    kept.scatter_(1, chosen, log_joint(mixture, x).gather(1, chosen))
    posteriors, log_likelihood = mixture.posteriors(x, top_k=2)
    torch.testing.assert_close(posteriors, kept.softmax(dim=1))
    torch.testing.assert_close(log_likelihood, kept.logsumexp(dim=1))
    torch.testing.assert_close(mixture.posteriors(x, top_k=9)[0], log_joint(mixture, x).softmax(dim=1))


@pytest.mark.parametrize("full", [False, True])
def test_whitened_differences_have_the_mahalanobis_length(full):
    mixture, x = random_mixture(full), torch.randn(4, 5, 3).double()
    covariances = mixture.covariances if full else torch.diag_embed(mixture.covariances)
    expected = torch.einsum("ngd,gde,nge->ng", x, covariances.inverse(), x)
    torch.testing.assert_close(mixture.whiten(x).square().sum(dim=2), expected)


@pytest.mark.parametrize("full", [False, True])
def test_new_parameters_replace_what_was_derived(full):
    first, x = random_mixture(full), torch.randn(6, 3).double()
    second = GaussianMixture(5, 3, full).double()
    before, _ = second.posteriors(x)
    second.load_state_dict(first.state_dict())
    assert not torch.allclose(second.posteriors(x)[0], before)
    torch.testing.assert_close(second.posteriors(x)[0], first.posteriors(x)[0])
    assert second.float().posteriors(x.float())[0].dtype == torch.float32
