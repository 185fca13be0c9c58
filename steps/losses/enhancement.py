"""What an enhanced waveform costs: a weighted sum of losses on samples and on spectra.

All of it is in float32 at least, also under autocast, and has finite gradients for silence, for an estimate of zeros
and for a perfect one. Spectra come from `torch.stft`, which is much cheaper than `steps.models.stft.Stft`, whose values
it has: nothing here has to go into a graph.

Shapes: N batch, T samples, B bins, K frames.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from steps.losses.config import EnhancementLossConfig, SeparationLossConfig
from steps.losses.separation import POWER_FLOOR, at_least_single, negative_si_sdr, power

BIN_FLOOR = 1e-7  # added to a bin's power; a sine of full scale under a window of 512 has 1e4, 16-bit rounding 1e-8
CONVERGED = 1e-4  # spectral convergence below which its gradient fades: that of a root stands still nowhere


class EnhancementLoss(NamedTuple):
    """loss (N,), the weighted sum; parts: by name (N,) each, without their weights, those whose weight is not 0."""

    loss: Tensor
    parts: dict[str, Tensor]


def enhancement_loss(
    config: EnhancementLossConfig, estimate: Tensor, target: Tensor, mixture: Tensor
) -> EnhancementLoss:
    """estimate, target and mixture (N, T) each; of the mixture it matters how loud it is where the target is silent.

    NaN comes out where NaN comes in, and nowhere else.
    """
    assert estimate.shape == target.shape == mixture.shape, "N and T must agree"
    with torch.autocast(estimate.device.type, enabled=False):
        e, s = at_least_single(estimate), at_least_single(target)
        reference = power(at_least_single(mixture)).clamp(min=POWER_FLOOR)  # (N,)
        parts = {}
        if config.l1:
            parts["l1"] = (e - s).abs().mean(dim=1)
        if config.stft:
            heard = power(s) > 10 ** (-config.silence / 10) * reference
            level = torch.where(heard, power(s), reference)
            losses = [resolution_loss(e, s, level, sizes) for sizes in config.resolutions]
            parts["stft"] = torch.stack(losses).mean(dim=0)
        if config.si_sdr:
            options = SeparationLossConfig(
                soft_threshold=config.soft_threshold, silence=config.silence, zero_mean=False
            )
            parts["si_sdr"] = negative_si_sdr(options, e, s, reference)
        if config.compressed:
            parts["compressed"] = compressed_loss(config, e, s)
        weighted = [getattr(config, name) * part for name, part in parts.items()]
    return EnhancementLoss(torch.stack(weighted).sum(dim=0), parts)


def resolution_loss(estimate: Tensor, target: Tensor, level: Tensor, sizes: Sequence[int]) -> Tensor:
    """estimate and target (N, T) -> (N,): spectral convergence and the mean distance of log magnitudes (natural).

    R. Yamamoto, E. Song and J.-M. Kim, "Parallel WaveGAN", ICASSP 2020 (arXiv 1910.11480), equations 4 to 6. `level`
    (N,) is the mean square of the samples that the convergence is relative to: the target's, but for silence.
    """
    n_fft, hop, win = sizes
    x, y = (magnitude(*spectrum(wave, n_fft, hop, win)) for wave in (estimate, target))
    # Parseval: in each frame the bins' powers, half of which are not computed, add up to n_fft times the samples'.
    whole = x.shape[2] * n_fft / 2 * window(win, x).square().sum() * level
    ratio = (x - y).square().sum(dim=(1, 2)) / whole
    convergence = (ratio + CONVERGED**2).sqrt() - CONVERGED
    return convergence + (x.log() - y.log()).abs().mean(dim=(1, 2))


def compressed_loss(config: EnhancementLossConfig, estimate: Tensor, target: Tensor) -> Tensor:
    """estimate and target (N, T) -> (N,): mean squared distance of spectra X |X|^(c - 1) and of magnitudes |X|^c.

    S. Braun and I. Tashev, "A consolidated view of loss functions for supervised deep learning-based speech
    enhancement", TSP 2021 (arXiv 2009.12286), its combination of complex and magnitude losses, with c = `exponent`.
    """
    pairs = [spectrum(wave, *config.frames) for wave in (estimate, target)]
    sizes = [magnitude(*pair) for pair in pairs]
    x, y = (size**config.exponent for size in sizes)
    (x_real, x_imag), (y_real, y_imag) = (
        [part * size ** (config.exponent - 1) for part in pair] for pair, size in zip(pairs, sizes, strict=True)
    )
    complex_distance = (x_real - y_real).square() + (x_imag - y_imag).square()
    share = config.complex_share
    return (share * complex_distance + (1 - share) * (x - y).square()).mean(dim=(1, 2))


def spectrum(wave: Tensor, n_fft: int, hop: int, win: int) -> tuple[Tensor, Tensor]:
    """wave (N, T) -> real and imaginary parts (N, B, K), under a Hann window with zeros beyond both ends; K = T // hop
    + 1, B = n_fft // 2 + 1."""
    found = torch.stft(
        *(wave, n_fft, hop, win, window(win, wave)), center=True, pad_mode="constant", return_complex=True
    )  # fmt: skip
    return found.real, found.imag


def window(win: int, like: Tensor) -> Tensor:
    """(win,), periodic Hann."""
    return torch.hann_window(win, dtype=like.dtype, device=like.device)


def magnitude(real: Tensor, imag: Tensor) -> Tensor:
    """sqrt(real^2 + imag^2 + BIN_FLOOR): what is quieter than any recording's noise counts as that loud."""
    return (real.square() + imag.square() + BIN_FLOOR).sqrt()
