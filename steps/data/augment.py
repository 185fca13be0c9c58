"""Changes to the features of a training batch; every draw comes from a generator that the caller seeds."""

import hashlib

import torch
from torch import Tensor
from torch.nn import functional

from steps.data.config import AugmentConfig


def keyed_generator(*key: object) -> torch.Generator:
    """A CPU generator seeded by `key` (say, seed, epoch, utterance id): the same key gives the same draws
    in whatever process or order they are made."""
    digest = hashlib.blake2b("\x1f".join(map(str, key)).encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "little") >> 1)


def spec_augment(features: Tensor, config: AugmentConfig, generator: torch.Generator) -> Tensor:
    """Masks bands of mel bins and spans of frames with the utterance's mean: (T, F) -> (T, F).

    D. Park et al., "SpecAugment", Interspeech 2019, section 2; the time masks together hide at most
    `time_mask_share` of the frames (section 2 of their "SpecAugment on large scale datasets").
    """
    frames, bins = features.shape
    masked = features.clone()
    mean = features.mean()
    for _ in range(config.freq_masks):
        width = _draw(min(config.freq_mask_bins, bins), generator)
        start = _draw(bins - width, generator)
        masked[:, start : start + width] = mean
    if config.time_masks:
        longest = min(config.time_mask_frames, int(config.time_mask_share * frames / config.time_masks))
        for _ in range(config.time_masks):
            width = _draw(longest, generator)
            start = _draw(frames - width, generator)
            masked[start : start + width] = mean
    return masked


def time_warp(features: Tensor, furthest: int, generator: torch.Generator) -> Tensor:
    """Moves one frame by at most `furthest` frames and stretches both sides to fit: (T, F) -> (T, F)."""
    frames = features.shape[0]
    if furthest < 1 or frames <= 2 * furthest + 2:
        return features
    centre = furthest + 1 + _draw(frames - 2 * furthest - 2, generator)
    moved = centre - furthest + _draw(2 * furthest, generator)
    left = _stretch(features[:centre], moved)
    right = _stretch(features[centre:], frames - moved)
    return torch.cat([left, right])


def _stretch(features: Tensor, frames: int) -> Tensor:
    """(T, F) -> (frames, F) by linear interpolation."""
    stretched = functional.interpolate(
        features.t().unsqueeze(0), size=frames, mode="linear", align_corners=False
    )  # (T, F) -> (1, F, frames)
    return stretched[0].t()


def _draw(most: int, generator: torch.Generator) -> int:
    """A whole number, uniform in 0 ... most."""
    return int(torch.randint(0, most + 1, (), generator=generator)) if most > 0 else 0
