"""What DPRNN and DPTNet share: the way from a mixture to sources, sequences along two axes, and the ends of the masker.

Parameter names are asteroid's. Shapes: N utterances, T samples, F filters, K frames, C channels, P frames in a chunk,
R chunks, S sources; B sequences of length L.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from steps.models.segmentation import Segmentation
from steps.models.tasnet import Decoder, Encoder, build_activation, build_norm, covered

NORMS = ("gLN", "cLN")


class DualPathTasNet(nn.Module):
    """Encoder, a masker (N, F, K) -> (N, S, F, K), decoder."""

    def __init__(self, masker: nn.Module, n_filters: int, kernel_size: int, stride: int, activation: str | None):
        super().__init__()
        self.kernel_size, self.stride = kernel_size, stride
        self.encoder = Encoder(n_filters, kernel_size, stride)
        self.encoder_activation = build_activation(activation)
        self.masker = masker
        self.decoder = Decoder(n_filters, kernel_size, stride)

    def forward(self, mixture: Tensor) -> Tensor:
        """(N, T) -> (N, S, T), float32, for T from 1 on. Under autocast the filter bank stays in float32 too."""
        wave = covered(mixture, self.kernel_size, self.stride)
        with torch.autocast(mixture.device.type, enabled=False):
            frames = self.encoder_activation(self.encoder(wave.float()))  # (N, F, K)
        masks = self.masker(frames).float()
        with torch.autocast(mixture.device.type, enabled=False):
            return self.decoder(masks * frames.unsqueeze(1))[..., : mixture.shape[-1]]


class DualPathEnd(nn.Module):
    """From chunks to the gated channels of each source, by overlap-add in between."""

    def __init__(self, n_src: int, inputs: int, channels: int, segmentation: Segmentation):
        super().__init__()
        self.n_src = n_src
        self.segmentation = segmentation
        self.first_out = nn.Sequential(nn.PReLU(), nn.Conv2d(inputs, n_src * channels, 1))
        self.net_out = nn.Sequential(nn.Conv1d(channels, channels, 1), nn.Tanh())
        self.net_gate = nn.Sequential(nn.Conv1d(channels, channels, 1), nn.Sigmoid())

    def gated(self, chunks: Tensor, frames: int, scale: float = 1.0) -> Tensor:
        """chunks (N, C', P, R) -> (N * S, C, K) with K = `frames`. `scale` multiplies the sum of overlapping chunks."""
        apart = self.first_out(chunks)  # (N, S * C, P, R)
        added = self.segmentation.overlap_add(apart, frames)
        added = added.reshape(-1, added.shape[1] // self.n_src, frames) * scale
        return self.net_out(added) * self.net_gate(added)


def along(module: Callable[[Tensor], Tensor], chunks: Tensor, within: bool) -> Tensor:
    """(N, C, P, R) -> (N, C, P, R), by a module (B, L, C) -> (B, L, C).

    It runs over the frames within each chunk (B = N * R, L = P), or over the chunks (B = N * P, L = R).
    """
    x = chunks.movedim(1, 3)  # (N, C, P, R) -> (N, P, R, C)
    if within:
        x = x.transpose(1, 2)  # (N, P, R, C) -> (N, R, P, C)
    x = module(x.flatten(0, 1)).reshape(x.shape)
    if within:
        x = x.transpose(1, 2)
    return x.movedim(3, 1)


def dual_path_norm(name: str, channels: int) -> nn.Module:
    """gLN or cLN. Raises ValueError for another: running sums would run along one of two axes only."""
    if name not in NORMS:
        raise ValueError(f"model.sizes.norm_type: dual-path models take {' or '.join(NORMS)}; got '{name}'")
    return build_norm(name, channels)
