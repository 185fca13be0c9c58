"""GTCRN: a causal convolutional recurrent network of 24 thousand learnt numbers.

X. Rong et al., "GTCRN: A speech enhancement model requiring ultralow computational resources", ICASSP 2024.
Parameter names are those of its authors' weights, the shapes of the three states too.

Shapes: N batch, B bins, K frames, F bands, C channels.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from steps.models.recurrent import outputs
from steps.models.streaming_stft import CausalStftNetwork, States, carried, product

DILATIONS = (1, 2, 5)  # of the encoder, in frames; the decoder's are the reverse
PAST = [2 * dilation for dilation in DILATIONS]  # frames that a kernel of three looks back
POWER_FLOOR = 1e-12  # the authors'; under the root, so that silence has a gradient


class GTCRN(CausalStftNetwork):
    """(N, T) -> (N, 1, T), with a complex mask on the spectrum; defaults are the paper's.

    `sample_rate` in Hz. Bins from `erb_subband_1` on become `erb_subband_2` bands of equal width on the ERB scale.
    Raises ValueError for more than one source, and for bands that do not fit.
    """

    def __init__(
        self,
        n_src: int = 1,
        n_fft: int = 512,
        hop: int = 256,
        sample_rate: int = 16000,
        erb_subband_1: int = 65,
        erb_subband_2: int = 64,
        channels: int = 16,
    ):
        super().__init__(n_src, n_fft, hop)
        bands = erb_subband_1 + erb_subband_2
        if bands % 4 != 1 or channels % 4:
            raise ValueError(
                "gtcrn: model.sizes.erb_subband_1 + erb_subband_2 is 1 more than a multiple of 4, channels a multiple "
                f"of 4; got {erb_subband_1} + {erb_subband_2} and {channels}"
            )
        self.channels, self.width = channels, bands // 4 + 1
        self.erb = Erb(erb_subband_1, erb_subband_2, n_fft, sample_rate)
        self.encoder = Encoder(channels)
        self.dpgrnn1 = DualPath(channels, self.width)
        self.dpgrnn2 = DualPath(channels, self.width)
        self.decoder = Decoder(channels)

    def start(self, batch: int) -> States:
        """At first: of convolutions (2, N, C, 16, F), of attention (2, 3, 1, N, C), of DPGRNNs (2, 1, N F, C).

        The first axis is encoder and decoder, or the first and the second DPGRNN.
        """
        zeros = self.erb.erb_fc.weight.new_zeros
        channels, width = self.channels, self.width
        return (
            zeros(2, batch, channels, sum(PAST), width),
            zeros(2, len(PAST), 1, batch, channels),
            zeros(2, 1, batch * width, channels),
        )

    def step(self, spectra: Tensor, convs: Tensor, attention: Tensor, bands: Tensor) -> tuple[Tensor, ...]:
        """Spectra (N, B, K, 2) and states -> the same after K frames."""
        spectra = spectra.permute(0, 3, 2, 1)  # (N, B, K, 2) -> (N, 2, K, B)
        power = (spectra * spectra).sum(dim=1, keepdim=True)
        x = neighbours(self.erb.bands(torch.cat([(power + POWER_FLOOR).sqrt(), spectra], dim=1)))
        (early, late), (lower, upper) = convs.unbind(0), bands.unbind(0)
        memories = attention.flatten(0, 2).split(1)
        x, skips, early, first = self.encoder(x, early, memories[: len(PAST)])
        x, lower = self.dpgrnn1(x, lower)
        x, upper = self.dpgrnn2(x, upper)
        x, late, second = self.decoder(x, skips, late, memories[len(PAST) :])
        with torch.autocast(x.device.type, enabled=False):
            enhanced = product(spectra, self.erb.bins(x.float()), axis=1).permute(0, 3, 2, 1)
        after = torch.cat(first + second).reshape(attention.shape)
        return enhanced, torch.stack([early, late]), after, torch.stack([lower, upper])


class Erb(nn.Module):
    """Bins to bands and back, by fixed triangles; the lowest bins stay as they are."""

    def __init__(self, kept: int, bands: int, n_fft: int, sample_rate: int):
        super().__init__()
        self.kept = kept
        filters = triangles(kept, bands, n_fft, sample_rate)
        self.erb_fc = nn.Linear(filters.shape[1], bands, bias=False)
        self.ierb_fc = nn.Linear(bands, filters.shape[1], bias=False)
        self.erb_fc.weight = nn.Parameter(filters, requires_grad=False)
        self.ierb_fc.weight = nn.Parameter(filters.T.contiguous(), requires_grad=False)

    def bands(self, x: Tensor) -> Tensor:
        """(..., B) -> (..., F)"""
        return torch.cat([x[..., : self.kept], self.erb_fc(x[..., self.kept :])], dim=-1)

    def bins(self, x: Tensor) -> Tensor:
        """(..., F) -> (..., B)"""
        return torch.cat([x[..., : self.kept], self.ierb_fc(x[..., self.kept :])], dim=-1)


def triangles(kept: int, bands: int, n_fft: int, sample_rate: int) -> Tensor:
    """(bands, n_fft / 2 + 1 - kept): at each bin weights that sum to 1, of the two bands it lies between.

    Bands are at equal distances of 21.4 log10(1 + 0.00437 f / Hz), rounded to bins, from bin `kept` to the last.
    Raises ValueError where two come to lie on one bin.
    """
    low, high = (21.4 * np.log10(0.00437 * hertz + 1) for hertz in (kept / n_fft * sample_rate, sample_rate / 2))
    hertz = (10 ** (np.linspace(low, high, bands) / 21.4) - 1) / 0.00437
    middles = np.round(hertz / sample_rate * n_fft)
    if bands < 2 or (np.diff(middles) < 1).any():
        raise ValueError(
            f"gtcrn: {bands} bands do not fit between bin {kept} and {n_fft // 2}; model.sizes: lower erb_subband_2, "
            "or raise erb_subband_1"
        )
    places = np.arange(kept, n_fft // 2 + 1)
    return torch.from_numpy(np.stack([np.interp(places, middles, row) for row in np.eye(bands)])).float()


def neighbours(x: Tensor) -> Tensor:
    """(N, C, K, F) -> (N, 3 C, K, F): each band with those below and above it (the paper's SFE)."""
    x = F.pad(x, (1, 1))
    return torch.stack([x[..., :-2], x[..., 1:-1], x[..., 2:]], dim=2).flatten(1, 2)


class ConvBlock(nn.Module):
    """Convolution over bands, which halves their number, or doubles it the other way; norm and activation."""

    def __init__(self, inputs: int, outputs: int, groups: int, up: bool = False, last: bool = False):
        super().__init__()
        kind = nn.ConvTranspose2d if up else nn.Conv2d
        self.conv = kind(inputs, outputs, (1, 5), stride=(1, 2), padding=(0, 2), groups=groups)
        self.bn = nn.BatchNorm2d(outputs)
        self.act = nn.Tanh() if last else nn.PReLU()

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, K, F) -> (N, C', K, F')"""
        return self.act(self.bn(self.conv(x)))


class GTConvBlock(nn.Module):
    """Half the channels go through three convolutions, of which one looks back, and attention; then all are shuffled.

    `up`: weights are kept as those of transposed convolutions, which at stride 1 are convolutions backwards.
    """

    def __init__(self, channels: int, dilation: int, up: bool = False):
        super().__init__()
        kind = nn.ConvTranspose2d if up else nn.Conv2d
        half = channels // 2
        self.up, self.dilation = up, dilation
        self.point_conv1 = kind(3 * half, channels, 1)
        self.point_bn1 = nn.BatchNorm2d(channels)
        self.point_act = nn.PReLU()
        self.depth_conv = kind(channels, channels, 3, dilation=(dilation, 1), groups=channels)
        self.depth_bn = nn.BatchNorm2d(channels)
        self.depth_act = nn.PReLU()
        self.point_conv2 = kind(channels, half, 1)
        self.point_bn2 = nn.BatchNorm2d(half)
        self.tra = Attention(half)

    def forward(self, x: Tensor, past: Tensor, memory: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(N, C, K, F), past (N, C, 2 dilation, F), memory (1, N, C) -> all three after K frames."""
        x, other = x.chunk(2, dim=1)
        # Weights for every band's neighbours one after the other are those of a convolution of three bands.
        kernel = self._kernel(self.point_conv1).reshape(past.shape[1], -1, 1, 3)
        x = self.point_act(self.point_bn1(F.conv2d(x, kernel, self.point_conv1.bias, padding=(0, 1))))
        x = torch.cat([past.to(x.dtype), x], dim=2)
        past = x[:, :, x.shape[2] - past.shape[2] :].float()
        kernel = self.depth_conv.weight.flip(2, 3) if self.up else self.depth_conv.weight
        x = F.conv2d(x, kernel, self.depth_conv.bias, 1, (0, 1), (self.dilation, 1), groups=past.shape[1])
        x = self.depth_act(self.depth_bn(x))
        x = self.point_bn2(F.conv2d(x, self._kernel(self.point_conv2), self.point_conv2.bias))
        x, memory = self.tra(x, memory)
        return torch.stack([x, other.to(x.dtype)], dim=2).flatten(1, 2), past, memory

    def _kernel(self, conv: nn.Module) -> Tensor:
        """(C', C, 1, 1), those of a convolution, of one of kernel 1."""
        return conv.weight.transpose(0, 1) if self.up else conv.weight


class Attention(nn.Module):
    """A factor for each channel and frame, by a GRU over the channels' power (the paper's TRA)."""

    def __init__(self, channels: int):
        super().__init__()
        self.att_gru = nn.GRU(channels, 2 * channels)
        self.att_fc = nn.Linear(2 * channels, channels)

    def forward(self, x: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        """(N, C, K, F), memory (1, N, 2 C) -> both after K frames."""
        wide = x.float()
        power = (wide * wide).mean(dim=3).permute(2, 0, 1)  # (N, C, K) -> (K, N, C)
        factor, memory = carried(self.att_gru, power, memory)
        factor = self.att_fc(factor).sigmoid().permute(1, 2, 0)  # (K, N, C) -> (N, C, K)
        return x * factor.unsqueeze(3), memory


class BandGru(nn.Module):
    """Two GRUs for two halves of the channels, over bands and both ways."""

    def __init__(self, channels: int):
        super().__init__()
        self.rnn1 = nn.GRU(channels // 2, channels // 4, batch_first=True, bidirectional=True)
        self.rnn2 = nn.GRU(channels // 2, channels // 4, batch_first=True, bidirectional=True)

    def forward(self, x: Tensor) -> Tensor:
        """(N', F, C) -> (N', F, C)"""
        with torch.autocast(x.device.type, enabled=False):
            first, second = x.float().chunk(2, dim=2)
            return torch.cat([outputs(self.rnn1, first), outputs(self.rnn2, second)], dim=2)


class FrameGru(nn.Module):
    """Two GRUs for two halves of the channels, over frames."""

    def __init__(self, channels: int):
        super().__init__()
        self.rnn1 = nn.GRU(channels // 2, channels // 2)
        self.rnn2 = nn.GRU(channels // 2, channels // 2)

    def forward(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """(K, N', C), state (1, N', C) -> both after K frames."""
        (first, second), (left, right) = x.chunk(2, dim=2), state.chunk(2, dim=2)
        (first, left), (second, right) = carried(self.rnn1, first, left), carried(self.rnn2, second, right)
        y = torch.cat([first, second], dim=2)
        return y, y if len(x) == 1 else torch.cat([left, right], dim=2)


class DualPath(nn.Module):
    """A grouped GRU over bands, both ways, and one over frames (the paper's DPGRNN)."""

    def __init__(self, channels: int, width: int):
        super().__init__()
        self.intra_rnn = BandGru(channels)
        self.intra_fc = nn.Linear(channels, channels)
        self.intra_ln = nn.LayerNorm((width, channels), eps=1e-8)
        self.inter_rnn = FrameGru(channels)
        self.inter_fc = nn.Linear(channels, channels)
        self.inter_ln = nn.LayerNorm((width, channels), eps=1e-8)

    def forward(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """(N, C, K, F), state (1, N F, C) -> both after K frames."""
        x = x.permute(2, 0, 3, 1)  # (N, C, K, F) -> (K, N, F, C)
        y = self.intra_fc(self.intra_rnn(x.flatten(0, 1)))
        x = x + self.intra_ln(y.reshape(x.shape))
        y, state = self.inter_rnn(x.flatten(1, 2), state)
        x = x + self.inter_ln(self.inter_fc(y).reshape(x.shape))
        return x.permute(1, 3, 0, 2), state  # (K, N, F, C) -> (N, C, K, F)


class Encoder(nn.Module):
    """Two ConvBlocks, which leave a quarter of the bands, and a GTConvBlock for each dilation."""

    def __init__(self, channels: int):
        super().__init__()
        blocks = [ConvBlock(9, channels, groups=1), ConvBlock(channels, channels, groups=2)]
        self.en_convs = nn.ModuleList([*blocks, *(GTConvBlock(channels, dilation) for dilation in DILATIONS)])

    def forward(self, x: Tensor, past: Tensor, memories: States) -> tuple[Tensor, list[Tensor], Tensor, list[Tensor]]:
        """(N, 9, K, F'), past (N, C, 16, F), memories (1, N, C) -> (N, C, K, F), each block's output, both states."""
        skips, after, pasts = [], [], list(past.split(PAST, dim=2))
        for block in self.en_convs[:2]:
            x = block(x)
            skips.append(x)
        for index, block in enumerate(self.en_convs[2:]):
            x, pasts[index], memory = block(x, pasts[index], memories[index])
            skips.append(x)
            after.append(memory)
        return x, skips, torch.cat(pasts, dim=2), after


class Decoder(nn.Module):
    """The encoder backwards, each block with its counterpart's output added to its input."""

    def __init__(self, channels: int):
        super().__init__()
        blocks = [GTConvBlock(channels, dilation, up=True) for dilation in reversed(DILATIONS)]
        middle = ConvBlock(channels, channels, groups=2, up=True)
        self.de_convs = nn.ModuleList([*blocks, middle, ConvBlock(channels, 2, groups=1, up=True, last=True)])

    def forward(
        self, x: Tensor, skips: list[Tensor], past: Tensor, memories: States
    ) -> tuple[Tensor, Tensor, list[Tensor]]:
        """(N, C, K, F), past (N, C, 16, F), memories (1, N, C) -> mask (N, 2, K, F') and both states."""
        after, pasts = [], list(past.split(PAST, dim=2))  # the past in the encoder's order
        for index, block in enumerate(self.de_convs[: len(PAST)]):
            slot = len(PAST) - 1 - index
            x, pasts[slot], memory = block(x + skips.pop(), pasts[slot], memories[index])
            after.append(memory)
        for block in self.de_convs[len(PAST) :]:
            x = block(x + skips.pop())
        return x, torch.cat(pasts, dim=2), after
