"""What an estimate of several talkers costs, whichever output each is on; finite for whatever was cropped or dug up.

Three things are done to the textbook's SI-SDR so that every item of a batch has a gradient, and none has all of it:
what is better than `soft_threshold` dB is hardly improved further, an estimate far below the target's level is drawn
towards the target (by the ratio alone, zeros would stay zeros), and where a target is silent its estimate's power
counts against the mixture's. Powers are means of squares, in float32 at least, also under autocast.
"""

import itertools
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from steps.losses.config import SeparationLossConfig

LEVEL_FLOOR = 1e-2  # amplitude of an estimate, of its target's, about which its level begins to count (-40 dB)
POWER_FLOOR = 1e-6  # a mixture below -60 dB of full scale counts as that loud
EXHAUSTIVE = 3  # sources up to which every permutation is tried; 3 have 6

Permutation = tuple[int, ...]


class PitLoss(NamedTuple):
    """loss (N,) in dB, the lower the better; permutation (N, S): estimate permutation[n, s] is of target s."""

    loss: Tensor
    permutation: Tensor


def si_sdr(estimate: Tensor, target: Tensor, zero_mean: bool = False) -> Tensor:
    """Scale-invariant SDR of estimate (..., T) and target (..., T) -> (...,) in dB, between -120 and 120.

    J. Le Roux et al., "SDR - half-baked or well done?", ICASSP 2019; `zero_mean` takes the means off first.
    Zeros, as estimate or as target, have -120 dB. A measure: `separation_loss` is what to learn from.
    """
    with torch.autocast(estimate.device.type, enabled=False):
        estimate, target = at_least_single(estimate), at_least_single(target)
        if zero_mean:
            estimate, target = centred(estimate), centred(target)
        scaled = (estimate * target).mean(-1, keepdim=True) / (power(target).unsqueeze(-1) + 1e-20) * target
        least = 1e-12 * power(estimate)  # 120 dB; float32 itself ends at about 140
        return decibel(power(scaled) + least + 1e-32) - decibel(power(estimate - scaled) + least + 1e-20)


def separation_loss(config: SeparationLossConfig, estimates: Tensor, targets: Tensor, mixture: Tensor) -> PitLoss:
    """estimates (N, S, T), targets (N, S, T), mixture (N, T) -> the loss under the permutation that makes it least.

    D. Yu et al., "Permutation invariant training", ICASSP 2017. For `si_sdr` the mean over sources of -SI-SDR; for
    `sa_sdr` minus the SDR of all sources together (T. von Neumann et al., "SA-SDR", ICASSP 2022), which is defined
    as long as one source speaks. NaN comes out where NaN comes in, and nowhere else.
    """
    assert estimates.shape == targets.shape and mixture.shape == targets[:, 0].shape, "N, S and T must agree"
    with torch.autocast(estimates.device.type, enabled=False):
        estimates, targets = at_least_single(estimates), at_least_single(targets)
        reference = power(at_least_single(mixture)).clamp(min=POWER_FLOOR)  # (N,)
        if config.kind == "sa_sdr" and config.zero_mean:
            estimates, targets = centred(estimates), centred(targets)
        with torch.no_grad():
            every, each = estimates.unsqueeze(1), targets.unsqueeze(2)
            if config.kind == "sa_sdr":
                costs = power(every - each)
            else:
                costs = negative_si_sdr(config, every, each, reference.reshape(-1, 1, 1))
        permutation = cheapest(costs)
        ordered = reorder(estimates, permutation)
        if config.kind == "sa_sdr":
            loss = negative_sa_sdr(config, ordered, targets, reference)
        else:
            loss = negative_si_sdr(config, ordered, targets, reference.unsqueeze(1)).mean(dim=1)
    return PitLoss(loss, permutation)


def negative_si_sdr(config: SeparationLossConfig, estimate: Tensor, target: Tensor, reference: Tensor) -> Tensor:
    """estimate (..., T), target (..., T), the mixture's power (...,) -> (...,) in dB.

    With alpha = <e, s> / |s|^2 and f = LEVEL_FLOOR: signal (|alpha| + f)^2 |s|^2, noise |e - alpha s|^2 + f^2 |s|^2
    + tau signal. At e = 0 that is 0 dB, and falls along s. tau as in S. Wisdom et al., "Unsupervised sound separation
    using mixture invariant training", NeurIPS 2020. For a silent target the loss for inactive sources of
    S. Wisdom et al., "What's all the fuss about free universal sound separation data?", ICASSP 2021, over the
    mixture's power: -soft_threshold dB for zeros, 0 dB for the mixture itself.
    """
    tau = 10 ** (-config.soft_threshold / 10)
    e, s = (centred(estimate), centred(target)) if config.zero_mean else (estimate, target)
    active = power(s) > 10 ** (-config.silence / 10) * reference
    level = torch.where(active, power(s), 1.0)  # so that the branch not taken has a finite gradient as well
    alpha = (e * s).mean(-1) / level
    signal = (torch.where(alpha < 0, -alpha, alpha) + LEVEL_FLOOR).square() * level  # abs() stands still at 0
    noise = power(e - alpha.unsqueeze(-1) * s) + LEVEL_FLOOR**2 * level
    inactive = decibel(power(estimate) + tau * reference) - decibel(reference)
    return torch.where(active, decibel(noise + tau * signal) - decibel(signal), inactive)


def negative_sa_sdr(config: SeparationLossConfig, estimates: Tensor, targets: Tensor, reference: Tensor) -> Tensor:
    """estimates (N, S, T), targets (N, S, T), the mixture's power (N,) -> (N,) in dB, tau as for SI-SDR.

    Where all targets are silent, what is estimated counts against the mixture.
    """
    signal = power(targets).sum(dim=1)
    signal = torch.where(signal > 10 ** (-config.silence / 10) * reference, signal, reference)
    noise = power(estimates - targets).sum(dim=1)
    return decibel(noise + 10 ** (-config.soft_threshold / 10) * signal) - decibel(signal)


def cheapest(costs: Tensor) -> Tensor:
    """costs (N, S targets, S estimates) -> (N, S): for each target an estimate of its own, the sum of costs least."""
    size = costs.shape[-1]
    if size > EXHAUSTIVE:  # scipy stops at NaN; the loss that follows will be NaN and say so
        matrices = costs.nan_to_num().cpu().numpy()
        return torch.from_numpy(np.stack([linear_sum_assignment(one)[1] for one in matrices])).to(costs.device)
    orders = torch.tensor(list(itertools.permutations(range(size))), device=costs.device)
    totals = costs[:, torch.arange(size, device=costs.device), orders].sum(dim=-1)  # (N, S!)
    return orders[totals.argmin(dim=1)]


def reorder(estimates: Tensor, permutation: Tensor) -> Tensor:
    """estimates (N, S, T), permutation (N, S) -> (N, S, T): source s of the result is of target s."""
    return estimates.gather(1, permutation.unsqueeze(-1).expand(-1, -1, estimates.shape[-1]))


def switch_rate(previous: Mapping[str, Permutation], current: Mapping[str, Permutation]) -> float | None:
    """The share of mixtures in both, by id, whose permutation changed; None if there are none.

    S.-F. Huang et al., "Stabilizing label assignment for speech separation by self-supervised pre-training",
    Interspeech 2021: from one epoch to the next.
    """
    both = previous.keys() & current.keys()
    return sum(previous[name] != current[name] for name in both) / len(both) if both else None


def at_least_single(x: Tensor) -> Tensor:
    """In float32, or in float64 if it is."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def centred(x: Tensor) -> Tensor:
    """(..., T) without its mean over T."""
    return x - x.mean(-1, keepdim=True)


def power(x: Tensor) -> Tensor:
    """(..., T) -> (...,), mean square."""
    return x.square().mean(-1)


def decibel(x: Tensor) -> Tensor:
    """10 log10 of a power."""
    return 10 * torch.log10(x)
