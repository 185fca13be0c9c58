"""FastEnhancer: convolutions over frequency around blocks of a GRU over time and attention over frequency.

S. Ahn et al., "FastEnhancer: Speed-optimized streaming neural speech enhancement", ICASSP 2026, arXiv 2509.21867. With
PUBLISHED sizes it is theirs, apart from the root of a Hann window, whose frames add up without another one, no weight
normalisation, and a mask that begins at 1. The default trades places on the frequency axis for channels, since a few
large products take a core less time than many small ones.

Shapes: N batch, B bins, K frames, F frequencies, C channels, P places of the blocks on the frequency axis, E their
channels.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from steps.models.stft import POWER_FLOOR
from steps.models.streaming_stft import CausalStftNetwork, States, carried, product

STRIDE, KERNEL = 4, 8  # of the first convolution, in bins
PUBLISHED = {  # at hop = 256; the two larger ones have a shorter hop
    "tiny": {"channels": 24, "convs": 2, "blocks": 2, "block_channels": 20, "places": 16},
    "base": {"channels": 48, "convs": 2, "blocks": 3, "block_channels": 36, "places": 24},
    "small": {"channels": 64, "convs": 3, "blocks": 3, "block_channels": 48, "places": 36},
}


class FastEnhancer(CausalStftNetwork):
    """(N, T) -> (N, 1, T), with a complex mask on the spectrum.

    `channels` C and `convs` (beside the first) are the encoder's and the decoder's, `block_channels` E, `places` P and
    `heads` those of the `blocks`. Magnitudes to the power of `compression` are what the network sees. Raises
    ValueError for more than one source, and for sizes that do not fit together.
    """

    def __init__(
        self,
        n_src: int = 1,
        n_fft: int = 512,
        hop: int = 256,
        channels: int = 32,
        convs: int = 2,
        blocks: int = 3,
        block_channels: int = 80,
        places: int = 12,
        heads: int = 4,
        compression: float = 0.3,
    ):
        super().__init__(n_src, n_fft, hop)
        wide = n_fft // (2 * STRIDE)
        fits = n_fft % (2 * STRIDE) == 0 and 2 <= places <= wide and block_channels % heads == block_channels % 2 == 0
        if not fits or not 0 < compression <= 1:
            raise ValueError(
                "fast_enhancer: model.sizes: n_fft is a multiple of 8, places 2 to n_fft / 8, block_channels even and "
                f"a multiple of heads, compression above 0 and up to 1; got {n_fft=}, {places=}, {block_channels=}, "
                f"{heads=}, {compression=}"
            )
        self.compression, self.places, self.block_channels = compression, places, block_channels
        gather, spread = interpolation(wide, places)
        self.register_buffer("gather", gather, persistent=False)  # (P, F)
        self.register_buffer("spread", spread, persistent=False)  # (F, P)
        first = nn.Conv1d(2, channels, KERNEL, STRIDE, padding=(KERNEL - STRIDE) // 2, bias=False)
        rest = [nn.Conv1d(channels, channels, 3, padding=1, bias=False) for _ in range(convs)]
        self.encoder = nn.ModuleList(
            nn.Sequential(conv, nn.BatchNorm1d(channels), nn.SiLU()) for conv in (first, *rest)
        )
        self.enter = normalised(channels, block_channels)
        self.position = nn.Parameter(sinusoids(places, block_channels))
        self.blocks = nn.ModuleList(Block(block_channels, heads) for _ in range(blocks))
        self.leave = normalised(block_channels, channels)
        self.decoder = nn.ModuleList(Up(channels, last=index == convs) for index in range(convs + 1))
        self.mask = nn.ConvTranspose1d(channels, 2, KERNEL, STRIDE, padding=(KERNEL - STRIDE) // 2)
        with torch.no_grad():
            self.mask.bias.copy_(torch.tensor([1.0, 0.0]))  # at first the mixture is let through

    def start(self, batch: int) -> States:
        """(blocks, N P, E), of the blocks' GRUs before the first frame."""
        return (self.position.new_zeros(len(self.blocks), batch * self.places, self.block_channels),)

    def step(self, spectra: Tensor, memory: Tensor) -> tuple[Tensor, ...]:
        """Spectra (N, B, K, 2) and state -> the same after K frames. The last bin comes out as 0."""
        batch, bins, frames = spectra.shape[:3]
        spectra = spectra[:, : bins - 1].permute(2, 0, 3, 1)  # (N, B, K, 2) -> (K, N, 2, B - 1)
        spectra = spectra.flatten(0, 1)
        x = scaled(spectra, self.compression)
        skips = []
        for block in self.encoder:
            x = block(x)
            skips.append(x)
        x = self.enter(F.linear(x, self.gather).transpose(1, 2).flatten(0, 1))  # (K N, C, P) -> (K N P, E)
        after = []
        for index, (block, state) in enumerate(zip(self.blocks, memory.split(1), strict=True)):
            x, state = block(x, state, None if index else self.position, self.places)
            after.append(state)
        x = self.leave(x).unflatten(0, (-1, self.places)).transpose(1, 2)  # (K N P, C) -> (K N, C, P)
        x = F.linear(x, self.spread)
        for block in self.decoder:
            x = block(x, skips.pop())
        mask = self.mask(x)
        with torch.autocast(spectra.device.type, enabled=False):
            # The mask is for compressed spectra: its magnitude counts with the power 1 / compression.
            x = product(spectra, scaled(mask.float(), 1 / self.compression), axis=1)
            x = F.pad(x, (0, 1)).unflatten(0, (frames, batch)).permute(1, 3, 0, 2)  # (K, N, 2, B) -> (N, B, K, 2)
        return x, torch.cat(after)


class Block(nn.Module):
    """The paper's RNNFormer: a GRU over frames at each place, then attention over the places of each frame."""

    def __init__(self, channels: int, heads: int):
        super().__init__()
        self.heads = heads
        self.gru = nn.GRU(channels, channels)
        self.remembered = normalised(channels, channels)
        self.qkv = nn.Linear(channels, 3 * channels, bias=False)
        self.attended = normalised(channels, channels)

    def forward(self, x: Tensor, state: Tensor, position: Tensor | None, places: int) -> tuple[Tensor, Tensor]:
        """(K N P, E), state (1, N P, E) -> both after K frames; `position` (P, E) is added before the attention."""
        channels = x.shape[1]
        y, state = carried(self.gru, x.unflatten(0, (-1, state.shape[1])), state)
        x = x + self.remembered(y.flatten(0, 1))
        if position is not None:
            x = (x.unflatten(0, (-1, places)) + position).flatten(0, 1)
        parts = self.qkv(x).reshape(-1, places, 3 * self.heads, channels // self.heads).transpose(1, 2)
        query, key, value = parts.chunk(3, dim=1)  # (K N, heads, P, E / heads) each
        weights = (query @ key.transpose(2, 3) * (channels // self.heads) ** -0.5).softmax(dim=3)
        return x + self.attended((weights @ value).transpose(1, 2).reshape(-1, channels)), state


class Up(nn.Module):
    """A convolution over what comes and what the encoder had there, to the width of one; another but in the last."""

    def __init__(self, channels: int, last: bool):
        super().__init__()
        narrow = nn.Conv1d(2 * channels, channels, 1, bias=False)
        wide = nn.Conv1d(channels, channels, 3, padding=1, bias=False)
        more = [] if last else [wide, nn.BatchNorm1d(channels), nn.SiLU()]
        self.layers = nn.Sequential(narrow, nn.BatchNorm1d(channels), nn.SiLU(), *more)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """Twice (K N, C, F) -> (K N, C, F)"""
        return self.layers(torch.cat([x, skip.to(x.dtype)], dim=1))


def scaled(x: Tensor, exponent: float) -> Tensor:
    """(M, 2, B), real and imaginary parts, of the same phases, with magnitudes to the power of `exponent`."""
    with torch.autocast(x.device.type, enabled=False):
        x = x.float()
        power = (x * x).sum(dim=1, keepdim=True).clamp(min=POWER_FLOOR)  # an addend so small would get lost in ONNX
        return x * power ** ((exponent - 1) / 2)


def normalised(inputs: int, outputs: int) -> nn.Sequential:
    """(M, inputs) -> (M, outputs), linear and normalised over the M rows."""
    return nn.Sequential(nn.Linear(inputs, outputs, bias=False), nn.BatchNorm1d(outputs))


def interpolation(many: int, few: int) -> tuple[Tensor, Tensor]:
    """(few, many) and (many, few): weighted means around `few` evenly spaced places, and the same weights back."""
    knots = np.linspace(0, many - 1, few)
    hats = np.stack([np.interp(np.arange(many), knots, row) for row in np.eye(few)])
    gather = torch.from_numpy(hats / hats.sum(axis=1, keepdims=True)).float()
    return gather, gather.T / gather.T.sum(dim=1, keepdim=True)


def sinusoids(places: int, channels: int) -> Tensor:
    """(places, channels): sines, then cosines of frequencies from 1 to places - 1, by which places differ at first."""
    angles = torch.arange(1, places + 1) * (torch.pi / places)
    frequencies = torch.logspace(0, float(np.log10(places - 1)), channels // 2)
    grid = angles.unsqueeze(1) * frequencies
    return torch.cat([grid.sin(), grid.cos()], dim=1)
