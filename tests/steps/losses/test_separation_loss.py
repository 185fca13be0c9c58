"""SI-SDR and SA-SDR against closed forms, permutations against brute force, gradients where others have NaN or none."""

import itertools
import math

import pytest
import torch

from steps.losses.config import SEPARATION_LOSSES, SeparationLossConfig
from steps.losses.separation import cheapest, reorder, separation_loss, si_sdr, switch_rate

N, S, T = 3, 2, 4000
every_kind = pytest.mark.parametrize("kind", SEPARATION_LOSSES)


def talkers(n=N, s=S, t=T, seed=0, level=0.05):
    """targets (n, s, t) and their sum (n, t)."""
    targets = level * torch.randn(n, s, t, generator=torch.Generator().manual_seed(seed))
    return targets, targets.sum(dim=1)


def at_ratio(target, decibel, seed=9):
    """target (..., T) plus noise orthogonal to it, `decibel` below it."""
    noise = torch.randn(target.shape, generator=torch.Generator().manual_seed(seed))
    noise = noise - noise.mean(-1, keepdim=True)
    along = (noise * target).sum(-1, keepdim=True) / target.square().sum(-1, keepdim=True)
    noise = noise - along * target
    return target + noise * (target.norm(dim=-1, keepdim=True) / noise.norm(dim=-1, keepdim=True)) * 10 ** (
        -decibel / 20
    )


def learned(config, estimates, targets, mixture):
    """loss (N,), permutation (N, S), gradient (N, S, T)."""
    estimates = estimates.clone().requires_grad_()
    loss, permutation = separation_loss(config, estimates, targets, mixture)
    loss.sum().backward()
    return loss.detach(), permutation, estimates.grad


@pytest.mark.parametrize("ratio", [-20.0, 0.0, 12.5, 40.0])
@pytest.mark.parametrize("scale", [1e-3, 1.0, -7.0])
def test_si_sdr_is_the_ratio_of_the_noise_at_every_scale(ratio, scale):
    target = talkers()[0]
    torch.testing.assert_close(
        si_sdr(scale * at_ratio(target, ratio), target), torch.full((N, S), ratio), atol=0.01, rtol=0
    )


def test_an_offset_counts_only_when_means_stay():
    target = talkers()[0][0, 0]
    target = target - target.mean()
    estimate = at_ratio(target, 15.0)
    assert si_sdr(estimate + 0.05, target, zero_mean=True).item() == pytest.approx(15.0, abs=0.01)
    with_offset = 10 * math.log10(target.square().mean() / (target.square().mean() * 10**-1.5 + 0.05**2))
    assert si_sdr(estimate + 0.05, target).item() == pytest.approx(with_offset, abs=0.05)


@pytest.mark.parametrize(
    ("estimate", "target", "value"), [(1, 1, 120), (-0.01, 1, 120), (0, 1, -120), (1, 0, -120), (0, 0, -120)]
)
def test_the_measure_ends_at_120_db(estimate, target, value):
    s = talkers()[0][0, 0]
    e = (estimate * s).requires_grad_()
    found = si_sdr(e, target * s)
    found.backward()
    assert found.item() == pytest.approx(value, abs=1.0) and e.grad.isfinite().all()


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5])
def test_the_permutation_is_the_one_that_trying_all_finds(size):
    costs = torch.randn(20, size, size, generator=torch.Generator().manual_seed(size))
    for matrix, found in zip(costs, cheapest(costs), strict=True):
        tried = {p: sum(matrix[s, p[s]].item() for s in range(size)) for p in itertools.permutations(range(size))}
        assert tuple(found.tolist()) == min(tried, key=tried.get)


@every_kind
@pytest.mark.parametrize("order", [(1, 0), (2, 0, 1), (3, 1, 0, 2)], ids=str)
def test_shuffled_estimates_are_put_back(kind, order):
    targets, mixture = talkers(s=len(order))
    shuffled = torch.empty_like(targets)
    shuffled[:, list(order)] = at_ratio(targets, 5.0)  # estimate order[s] is of target s
    loss, permutation = separation_loss(SeparationLossConfig(kind), shuffled, targets, mixture)
    assert permutation.tolist() == [list(order)] * N
    torch.testing.assert_close(reorder(shuffled, permutation), at_ratio(targets, 5.0))
    torch.testing.assert_close(loss, torch.full((N,), -5.0), atol=0.25, rtol=0)


def test_si_sdr_loss_is_minus_the_mean_over_sources_and_blind_to_scale():
    targets, mixture = talkers()
    targets[:, 1] *= 0.3
    estimates = torch.stack([at_ratio(targets[:, 0], 12.0), -2.0 * at_ratio(targets[:, 1], 4.0)], dim=1)
    loss, _ = separation_loss(SeparationLossConfig(soft_threshold=40), estimates, targets, mixture)
    torch.testing.assert_close(loss, torch.full((N,), -8.0), atol=0.15, rtol=0)


def test_sa_sdr_is_one_ratio_over_all_sources_with_and_without_a_silent_one():
    config = SeparationLossConfig("sa_sdr", soft_threshold=40, zero_mean=False)
    targets, _ = talkers()
    targets[1, 1] = 0
    targets[2, 1] *= 0.1
    estimates = 0.5 * targets
    estimates[1, 1] = 0.5 * targets[1, 0]  # what is put out where there is silence is noise too
    powers = targets.square().sum(dim=2)
    noise = torch.stack([powers[0].sum() / 4, powers[1, 0] / 2, powers[2].sum() / 4])
    expected = 10 * torch.log10(noise / powers.sum(dim=1) + 1e-4)
    torch.testing.assert_close(separation_loss(config, estimates, targets, targets.sum(dim=1)).loss, expected)


@every_kind
def test_a_nearly_perfect_estimate_has_no_large_gradient(kind):
    """Without a threshold the gradient doubles with every 6 dB; with one it is largest there and then falls."""
    targets, mixture = talkers()

    def size(ratio):
        return learned(SeparationLossConfig(kind), at_ratio(targets, ratio), targets, mixture)[2].norm()

    assert max(size(ratio) for ratio in (20.0, 30.0, 40.0, 60.0, 80.0)) < 5.1 * size(10.0)
    assert size(80.0) < 0.1 * size(10.0)
    for ratio in (60.0, 120.0, math.inf):
        loss = learned(SeparationLossConfig(kind), at_ratio(targets, ratio), targets, mixture)[0]
        torch.testing.assert_close(loss, torch.full((N,), -30.0), atol=0.5, rtol=0)


@every_kind
def test_zeros_learn_in_the_direction_of_the_targets(kind):
    """asteroid's gradient is exactly 0 there, at a loss of 80."""
    config = SeparationLossConfig(kind, zero_mean=False)
    targets, mixture = talkers()
    loss, _, gradient = learned(config, torch.zeros(N, S, T), targets, mixture)
    torch.testing.assert_close(loss, torch.zeros(N), atol=0.01, rtol=0)
    torch.testing.assert_close(torch.cosine_similarity(gradient, -targets, dim=2), torch.ones(N, S))


@every_kind
def test_estimates_that_begin_as_zeros_become_the_talkers(kind):
    targets, mixture = talkers(n=2)
    estimates = torch.zeros_like(targets).requires_grad_()
    optimiser = torch.optim.Adam([estimates], lr=2e-3)
    for _ in range(150):
        optimiser.zero_grad()
        loss, permutation = separation_loss(SeparationLossConfig(kind), estimates, targets, mixture)
        loss.sum().backward()
        optimiser.step()
    assert si_sdr(reorder(estimates.detach(), permutation), targets, zero_mean=True).min() > 20


def test_an_estimate_of_a_silent_target_is_measured_by_the_mixture():
    targets, _ = talkers()
    targets[:, 1] = 0
    mixture = targets.sum(dim=1)
    good = at_ratio(targets[:, 0], 10.0, seed=8)
    as_loud = at_ratio(mixture, 0.0) - mixture
    for scale, level in ((0.0, -30.0), (1.0, 0.0), (0.1, -20.0)):
        estimates = torch.stack([scale * as_loud, good], dim=1)
        loss, permutation, gradient = learned(SeparationLossConfig(), estimates, targets, mixture)
        assert permutation.tolist() == [[1, 0]] * N
        torch.testing.assert_close(2 * loss, torch.full((N,), level - 10.0), atol=0.6, rtol=0)
        assert gradient.isfinite().all()
        assert (gradient[:, 0].norm() > 0) == (scale > 0)  # nothing is better than nothing there


@every_kind
@pytest.mark.parametrize("left", [0.0, 1e-6, 1e-3], ids=["zeros", "rounding", "room"])
def test_an_item_with_a_silent_target_does_not_dominate(kind, left):
    targets, _ = talkers()
    targets[1, 1] *= left
    loss, _, gradient = learned(SeparationLossConfig(kind), at_ratio(talkers()[0], 3.0), targets, targets.sum(dim=1))
    assert loss.abs().max() < 10.0
    sizes = gradient.flatten(1).norm(dim=1)
    assert sizes[1] < 3 * sizes[0]


def silent(t):
    return torch.zeros(N, S, t)


def offset(t):
    return torch.full((N, S, t), 0.3)


def quiet(t):
    return talkers(t=t, level=1e-20)[0]


def loud(t):
    return talkers(t=t, level=1e5)[0]


def alike(t):
    return talkers(t=t)[0][:, :1].expand(N, S, t)


@every_kind
@pytest.mark.parametrize("zero_mean", [True, False], ids=["centred", "as is"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("t", [1, 2, 400])
@pytest.mark.parametrize("of_targets", [silent, offset, quiet, loud, alike])
def test_loss_and_gradient_are_finite(kind, zero_mean, dtype, t, of_targets):
    config, targets = SeparationLossConfig(kind, zero_mean=zero_mean), of_targets(t)
    noise = talkers(t=t, seed=5)[0]
    for estimates in (targets, -targets, 0 * targets, noise, 1e-20 * noise, 1e5 * noise, torch.full_like(noise, 0.2)):
        loss, _, gradient = learned(config, estimates.to(dtype), targets.to(dtype), targets.sum(dim=1).to(dtype))
        assert loss.dtype == torch.float32 and loss.isfinite().all() and gradient.isfinite().all()
        assert loss.max() < 250  # 1e5 times full scale, where silence was asked for


@every_kind
def test_autocast_changes_nothing_but_the_estimates(kind):
    targets, mixture = talkers()
    half = at_ratio(targets, 6.0).bfloat16()
    expected = learned(SeparationLossConfig(kind), half.float(), targets, mixture)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss, permutation, gradient = learned(SeparationLossConfig(kind), half, targets, mixture)
        assert si_sdr(half, targets).dtype == torch.float32
    assert torch.equal(loss, expected[0]) and torch.equal(permutation, expected[1])
    assert torch.equal(gradient, expected[2].bfloat16())


@every_kind
@pytest.mark.parametrize("zero_mean", [True, False], ids=["centred", "as is"])
def test_gradients_equal_differences(kind, zero_mean):
    config = SeparationLossConfig(kind, zero_mean=zero_mean)
    targets = talkers(t=12, level=1.0)[0].double()
    targets[2, 0] = 0
    estimates = at_ratio(targets + 1e-3, 2.0).double().requires_grad_()
    mixture = targets.sum(dim=1)
    assert torch.autograd.gradcheck(lambda e: separation_loss(config, e, targets, mixture).loss, estimates)


@every_kind
@pytest.mark.parametrize("s", [2, 4])
def test_nan_is_seen_in_its_item_and_raises_nothing(kind, s):
    targets, mixture = talkers(s=s)
    estimates = at_ratio(targets, 3.0)
    estimates[1, 0, 7] = math.nan
    loss, permutation = separation_loss(SeparationLossConfig(kind), estimates, targets, mixture)
    assert loss.isnan().tolist() == [False, True, False]
    assert all(sorted(one) == list(range(s)) for one in permutation.tolist())


def test_switch_rate_counts_what_both_have():
    previous = {"a": (0, 1), "b": (1, 0), "c": (0, 1), "gone": (0, 1)}
    assert switch_rate(previous, {"a": (0, 1), "b": (0, 1), "c": (1, 0), "new": (1, 0)}) == pytest.approx(2 / 3)
    assert switch_rate(previous, previous) == 0.0
    assert switch_rate(previous, {"new": (1, 0)}) is None


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"kind": "snr"}, "loss.kind: one of si_sdr, sa_sdr; got 'snr'"),
        ({"soft_threshold": 0}, "loss.soft_threshold"),
        ({"soft_threshold": 60}, "at most 40"),
        ({"silence": -50}, "loss.silence"),
    ],
)
def test_a_wrong_configuration_is_named(wrong, named):
    with pytest.raises(ValueError, match=named):
        SeparationLossConfig(**wrong)
