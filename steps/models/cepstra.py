"""Cepstra of log-mel energies, and which frames are speech, as i-vectors want them.

Everything here comes out the same whether or not a constant was taken off each mel bin of an utterance
before (the differences, the short-time mean and the level relative to the utterance's do not see it), and
honours `lengths`: an utterance gets in a batch what it would get alone, and zeros beyond its end.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional

from steps.models.masking import frame_mask

SPEECH_SHARE = 0.6  # of the frames around one that must be above the threshold (Kaldi's default)


def dct_matrix(num_bins: int, num_ceps: int) -> Tensor:
    """(F, K): the first K columns of the orthonormal DCT-II, so that with K = F it is a rotation.

    Raises ValueError when more cepstra are wanted than there are bins.
    """
    if num_ceps > num_bins:
        raise ValueError(f"{num_ceps} cepstra of {num_bins} mel bins: lower ivector.num_ceps to {num_bins} or less")
    bins = torch.arange(num_bins, dtype=torch.float64).unsqueeze(1) + 0.5
    table = torch.cos(math.pi / num_bins * bins * torch.arange(num_ceps)) * math.sqrt(2.0 / num_bins)
    table[:, 0] /= math.sqrt(2.0)
    return table.float()


def delta_kernels(window: int) -> Tensor:
    """(3, 4 window + 1): the frame itself, its regression slope over +-window frames, and the slope of that."""
    slope = torch.arange(-window, window + 1, dtype=torch.float64)
    slope = slope / slope.square().sum()
    twice = functional.conv1d(slope.view(1, 1, -1), slope.flip(0).view(1, 1, -1), padding=2 * window).flatten()
    kernels = torch.zeros(3, 4 * window + 1, dtype=torch.float64)
    kernels[0, 2 * window] = 1.0
    kernels[1, window : 3 * window + 1] = slope
    kernels[2] = twice
    return kernels.float()


def with_deltas(cepstra: Tensor, lengths: Tensor | None, window: int) -> Tensor:
    """(N, T, K) -> (N, T, 3 K): with first and second differences; the first and last frame go on beyond the ends."""
    count, frames, _ = cepstra.shape
    reach = 2 * window
    last = _valid(lengths, count, frames, cepstra.device) - 1
    index = torch.arange(-reach, frames + reach, device=cepstra.device).expand(count, -1)
    index = torch.minimum(index, last).clamp(min=0)  # (N, T + 2 reach)
    padded = cepstra.gather(1, index.unsqueeze(2).expand(-1, -1, cepstra.shape[2]))
    kernels = delta_kernels(window).to(cepstra)
    stacked = padded.unfold(1, 2 * reach + 1, 1) @ kernels.T  # (N, T, K, 3)
    return _without_padding(stacked.transpose(2, 3).flatten(2), lengths)


def short_time_centred(x: Tensor, lengths: Tensor | None, window: int) -> Tensor:
    """(N, T, D) less the mean over the `window` frames around each; near the ends over the first or last `window`.

    An utterance shorter than that loses its own mean.
    """
    count, frames, dim = x.shape
    valid = _valid(lengths, count, frames, x.device)
    start = (torch.arange(frames, device=x.device) - window // 2).clamp(min=0).expand(count, -1)
    start = torch.minimum(start, (valid - window).clamp(min=0))
    end = torch.minimum(start + window, valid)  # (N, T)
    sums = functional.pad(_without_padding(x, lengths).double().cumsum(dim=1), (0, 0, 1, 0))
    total = sums.gather(1, end.unsqueeze(2).expand(-1, -1, dim)) - sums.gather(
        1, start.unsqueeze(2).expand(-1, -1, dim)
    )
    means = total / (end - start).clamp(min=1).unsqueeze(2)
    return _without_padding((x.double() - means).to(x.dtype), lengths)


def speech_mask(log_mel: Tensor, lengths: Tensor | None, below_mean: float, context: int) -> Tensor:
    """(N, T, F) -> (N, T) of bool: the frames that count as speech; all of an utterance if none would.

    A frame's level is the mean of its log-mel energies. Speech is where, of the frames up to `context` to each
    side, 60 % have a level above the utterance's mean less `below_mean` (natural log). Kaldi's energy decision
    with the threshold relative to the recording, which makes it independent of gain. Silence alone has no
    frames far below its mean, and all of it is kept.
    """
    count, frames, _ = log_mel.shape
    mask = frame_mask(lengths, frames)
    valid = torch.ones(count, frames, dtype=torch.bool, device=log_mel.device) if mask is None else mask
    level = log_mel.mean(dim=2).masked_fill(~valid, 0.0)
    mean = level.sum(dim=1, keepdim=True) / valid.sum(dim=1, keepdim=True).clamp(min=1)
    loud = (level >= mean - below_mean) & valid

    def around(flags: Tensor) -> Tensor:
        return functional.avg_pool1d(flags.float().unsqueeze(1), 2 * context + 1, 1, context).squeeze(1)

    speech = (around(loud) >= SPEECH_SHARE * around(valid) - 1e-6) & valid
    return torch.where(speech.any(dim=1, keepdim=True), speech, valid)


def _valid(lengths: Tensor | None, count: int, frames: int, device: torch.device) -> Tensor:
    """(N, 1): frames of each utterance."""
    if lengths is None:
        return torch.full((count, 1), frames, device=device)
    return lengths.to(device).unsqueeze(1)


def _without_padding(x: Tensor, lengths: Tensor | None) -> Tensor:
    """(N, T, D) with zeros beyond each utterance's end, whatever was there."""
    mask = frame_mask(lengths, x.shape[1])
    return x if mask is None else x.masked_fill(~mask.unsqueeze(2), 0.0)
