"""Padding that does not count: a batch of utterances gives each what it would get alone.

A mask is (N, T) of bool, true where a frame belongs to the utterance, or None where all do (one utterance, or
random chunks of one length), which keeps an exported graph free of it. What lies in the padding may be anything, even
NaN. Every utterance has at least one frame. (Batch normalisation in training counts padded frames all the
same: chunks of one length are what these networks are trained on.)
"""

import torch
from torch import Tensor


def frame_mask(lengths: Tensor | None, frames: int) -> Tensor | None:
    """lengths (N,) -> (N, frames); None when `lengths` is."""
    if lengths is None:
        return None
    return torch.arange(frames, device=lengths.device) < lengths.unsqueeze(1)


def silence_padding(x: Tensor, mask: Tensor | None) -> Tensor:
    """(N, ..., T) with zeros beyond each utterance's end, as a convolution would find beyond the end of one alone."""
    if mask is None:
        return x
    return x.masked_fill(~_broadcast(mask, x.dim()), 0.0)


def halved(lengths: Tensor | None) -> Tensor | None:
    """Lengths (N,) after a convolution of stride 2 with padding (3-wide, 1 on both sides, or 1-wide)."""
    return None if lengths is None else (lengths + 1) // 2


def mean(x: Tensor, mask: Tensor | None) -> Tensor:
    """(N, ..., T) -> (N, ..., 1): the mean over the frames of each utterance."""
    if mask is None:
        return x.mean(dim=-1, keepdim=True)
    return silence_padding(x, mask).sum(dim=-1, keepdim=True) / _count(x, mask)


def variance(x: Tensor, mask: Tensor | None, unbiased: bool) -> Tensor:
    """(N, ..., T) -> (N, ..., 1): variance over the frames of each utterance; 0 for a single frame.

    `unbiased` divides by the number of frames less one.
    """
    deviation = silence_padding(x - mean(x, mask), mask)
    count = _count(x, mask)
    if unbiased:
        count = (count - 1).clamp(min=1)
    return deviation.square().sum(dim=-1, keepdim=True) / count


def _broadcast(mask: Tensor, dimensions: int) -> Tensor:
    """(N, T) -> (N, 1, ..., T)"""
    return mask.view([mask.shape[0], *[1] * (dimensions - 2), mask.shape[1]])


def _count(x: Tensor, mask: Tensor | None) -> Tensor:
    """Frames of each utterance, (N, 1, ..., 1); without a mask one number for all, and not an int: an exported graph
    would keep what max() said of the length that it was made with."""
    if mask is None:
        return torch.ones(x.shape[-1], dtype=torch.int64, device=x.device).sum()
    return _broadcast(mask, x.dim()).sum(dim=-1, keepdim=True)
