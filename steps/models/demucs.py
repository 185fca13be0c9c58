"""Demucs for speech: a U-Net on waveforms with an LSTM in its middle, causal, after upsampling.

A. Défossez, G. Synnaeve and Y. Adi, "Real time speech enhancement in the waveform domain", Interspeech 2020, section 2
and figure 1; parameter names, arguments and defaults are those of its authors' published weights, apart from
`normalize`. There the input is divided by the standard deviation of the whole file, which nobody knows while it comes
in, and whatever is taken instead makes streaming another network. Here it is left out, so that what streams is what
was trained: train with random levels.

Shapes: N batch, T samples, U samples after upsampling, C channels, K frames.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from steps.models.recurrent import outputs

BLOCK = 32  # samples that the resampling convolution makes at a time; one at a time is ten times slower


@dataclass(frozen=True)
class Geometry:
    """Where frames lie: each of `span` upsampled samples, one every `shift`. `margin` are samples that resampling sees
    to each side of a sample."""

    kernel: int
    stride: int
    depth: int
    resample: int
    margin: int

    @property
    def shift(self) -> int:
        """Upsampled samples from a frame to the next."""
        return self.stride**self.depth

    def overlap(self, level: int) -> int:
        """Steps at `level` (0: upsampled samples, depth: frames) that a frame has in common with the next."""
        return (self.kernel - self.stride) * sum(self.stride**i for i in range(self.depth - level))

    @property
    def span(self) -> int:
        return self.shift + self.overlap(0)

    @property
    def hop(self) -> int:
        """Samples from a frame to the next."""
        return self.shift // self.resample

    @property
    def lookahead(self) -> int:
        """Samples: input up to n + `lookahead` at most, and n at least, decides on output n, if n begins a frame."""
        return 2 * self.margin + self.overlap(0) // self.resample

    def prefix(self, hops: int = 1) -> int:
        """Zeros before a stream that is taken `hops` at a time, so that no frame waits for more than it needs."""
        return (self.margin - self.lookahead) % (hops * self.hop)

    def frames(self, samples: int) -> int:
        """The fewest frames, at least 1, that cover `samples`."""
        beyond = torch.sym_max(samples * self.resample - self.span, 0)
        return (beyond + self.shift - 1) // self.shift + 1


class Demucs(nn.Module):
    """(N, T) -> (N, 1, T), T from 1 on.

    The paper's names: `hidden` H, `depth` L, `kernel_size` K, `stride` S, `resample` U (1, 2 or 4). Layer i has
    `growth` times the channels of the one before, `max_hidden` at most; `rescale` is what initial weights' deviation
    is drawn towards (0: left as it is); `zeros` are the sinc's to each side when resampling by 2, of which fewer mean
    a shorter latency.

    `normalize`: False; "causal", divided by the root mean square so far, the same in streaming; or True, by the whole
    file's deviation, as published weights want it, with which there is no streaming. `floor` is added to either.

    Raises ValueError for sizes that do not fit together, more than one channel or source, and for a causal network
    whose frames are not a whole number of samples apart.
    """

    def __init__(
        self,
        n_src: int = 1,
        chin: int = 1,
        chout: int = 1,
        hidden: int = 48,
        depth: int = 5,
        kernel_size: int = 8,
        stride: int = 4,
        causal: bool = True,
        resample: int = 4,
        growth: float = 2,
        max_hidden: int = 10_000,
        normalize: bool | str = False,
        glu: bool = True,
        rescale: float = 0.1,
        floor: float = 1e-3,
        zeros: int = 56,
    ):
        super().__init__()
        if (n_src, chin, chout) != (1, 1, 1):
            raise ValueError(f"demucs has one input and one output; got n_src={n_src}, chin={chin}, chout={chout}")
        if normalize not in (False, True, "causal"):
            raise ValueError(f"model.sizes.normalize is false, true or causal; got '{normalize}'")
        self.resampler = Resampler(resample, zeros)
        self.geometry = Geometry(kernel_size, stride, depth, resample, self.resampler.margin)
        self.normalize, self.floor = normalize, floor
        if self.geometry.shift % resample:
            raise ValueError(f"model.sizes.stride ** depth must be a multiple of resample ({resample}); got {stride}")
        if causal:
            check_streamable(self.geometry)
        elif normalize == "causal":
            raise ValueError("model.sizes.normalize=causal is for causal networks; take true with causal=false")
        self.encoder, self.decoder = nn.ModuleList(), nn.ModuleList()
        inputs, wide = 1, 2 if glu else 1
        for level in range(depth):
            gate = nn.GLU(1) if glu else nn.ReLU()
            down = nn.Conv1d(inputs, hidden, kernel_size, stride)
            self.encoder.append(nn.Sequential(down, nn.ReLU(), nn.Conv1d(hidden, wide * hidden, 1), gate))
            up = nn.ConvTranspose1d(hidden, inputs, kernel_size, stride)
            ending = [nn.ReLU()] if level else []
            self.decoder.insert(0, nn.Sequential(nn.Conv1d(hidden, wide * hidden, 1), gate, up, *ending))
            inputs, hidden = hidden, min(int(growth * hidden), max_hidden)
        self.lstm = Recurrence(inputs, bidirectional=not causal)
        if rescale:
            self.apply(lambda module: rescaled(module, rescale))

    @property
    def causal(self) -> bool:
        """Whether `streamer` gives what `forward` does."""
        return self.lstm.linear is None and self.normalize is not True

    def streamer(self):
        """A `steps.models.streaming_demucs.DemucsStreamer` of this network. Raises ValueError unless `causal`."""
        from steps.models.streaming_demucs import DemucsStreamer

        return DemucsStreamer(self)

    def forward(self, mixture: Tensor) -> Tensor:
        """(N, T) -> (N, 1, T), float32. Under autocast resampling and levels stay in float32 too."""
        geometry, length = self.geometry, mixture.shape[-1]
        margin, fine = geometry.margin, geometry.margin * geometry.resample
        rest = -geometry.span % geometry.resample  # upsampled samples of the last that no frame reaches
        samples = geometry.hop * (geometry.frames(length) - 1) + (geometry.span + rest) // geometry.resample
        with torch.autocast(mixture.device.type, enabled=False):
            wave = mixture.float()
            level = self.level(wave)
            wave = wave if level is None else wave / (self.floor + level)
            x = self.resampler.up(F.pad(wave, (margin, samples - length + margin)))
        x = self.unet(F.pad(x, (0, -rest)).unsqueeze(1)).squeeze(1)
        with torch.autocast(mixture.device.type, enabled=False):
            wave = self.resampler.down(F.pad(x.float(), (fine, rest + fine)))
            wave = F.pad(wave, (0, length - samples))
            return (wave if level is None else wave * level).unsqueeze(1)

    def unet(self, x: Tensor) -> Tensor:
        """(N, 1, U) -> (N, 1, U) for a U that frames cover without rest."""
        skips = []
        for layer in self.encoder:
            x = layer(x)
            skips.append(x)
        x = self.lstm(x)
        for layer in self.decoder:
            skip = skips.pop()  # where upsampling by U leaves a rest, levels are longer than what comes back
            x = layer(x + skip[..., : x.shape[-1]])
        return x

    def level(self, wave: Tensor) -> Tensor | None:
        """What (N, T) is divided by, less the floor: (N, 1), (N, T), or None where nothing is normalised."""
        if self.normalize is False:
            return None
        with torch.no_grad():
            if self.normalize is True:
                return wave.std(dim=1, correction=0, keepdim=True)
            hop, prefix, length = self.geometry.hop, self.geometry.prefix(), wave.shape[1]
            blocks = (prefix + length + hop - 1) // hop
            rows = F.pad(wave, (prefix, blocks * hop - prefix - length)).reshape(-1, blocks, hop)
            power = rows.double().square().sum(dim=2).cumsum(dim=1)  # (N, blocks)
            count = hop * torch.arange(1, blocks + 1, device=wave.device) - prefix
            level = (power / count).sqrt().float()
            return level.unsqueeze(2).expand(-1, -1, hop).flatten(1)[:, prefix : prefix + length]


class Recurrence(nn.Module):
    """Two LSTM layers; in both directions they are brought back to the width of the input."""

    def __init__(self, channels: int, bidirectional: bool):
        super().__init__()
        self.lstm = nn.LSTM(channels, channels, num_layers=2, batch_first=True, bidirectional=bidirectional)
        self.linear = nn.Linear(2 * channels, channels) if bidirectional else None

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, K) -> (N, C, K), starting from zeros."""
        x = outputs(self.lstm, x.transpose(1, 2))  # (N, C, K) -> (N, K, C)
        return (x if self.linear is None else self.linear(x)).transpose(1, 2)


class Resampler(nn.Module):
    """By 1, 2 or 4 up and down with a sinc under a Hann window, of linear phase; by 4 is by 2 and by 2 again.

    A convolution of one channel is the slowest part of the whole network, so one of `BLOCK` outputs does it. Both
    ways take `margin` samples of the lower rate to each side of what they give.
    """

    def __init__(self, factor: int, zeros: int):
        super().__init__()
        if factor not in (1, 2, 4) or zeros < 2 or zeros % 2:
            raise ValueError(
                f"model.sizes.resample is 1, 2 or 4, model.sizes.zeros even and 2 or more; got {factor} and {zeros}"
            )
        self.factor = factor
        self.margin = {1: 0, 2: zeros, 4: zeros + zeros // 2}[factor]
        if factor == 1:
            return
        taps = interpolator(factor, zeros)
        reach = len(taps) // 2
        window = BLOCK + 2 * self.margin
        coarse = factor * (torch.arange(window) - self.margin)  # of the lower rate's samples, in the higher rate's
        fine = torch.arange(factor * window) - factor * self.margin
        up = _looked_up(taps, reach + torch.arange(factor * BLOCK)[:, None] - coarse)
        down = _looked_up(taps, reach + factor * torch.arange(BLOCK)[:, None] - fine) / factor
        self.register_buffer("up_kernel", up.float().unsqueeze(1), persistent=False)
        self.register_buffer("down_kernel", down.float().unsqueeze(1), persistent=False)

    def up(self, wave: Tensor) -> Tensor:
        """(N, margin + T + margin) -> (N, factor T)"""
        return wave if self.factor == 1 else self._blocks(wave, self.up_kernel, BLOCK, 2 * self.margin, self.factor, 1)

    def down(self, wave: Tensor) -> Tensor:
        """(N, factor (margin + T + margin)) -> (N, T)"""
        if self.factor == 1:
            return wave
        context = 2 * self.margin * self.factor
        return self._blocks(wave, self.down_kernel, self.factor * BLOCK, context, 1, self.factor)

    @staticmethod
    def _blocks(wave: Tensor, kernel: Tensor, stride: int, context: int, more: int, fewer: int) -> Tensor:
        """All blocks of `kernel`'s outputs (N, B, blocks) in a row, less what padding to whole blocks added."""
        beyond = -(wave.shape[1] - context) % stride
        rows = F.conv1d(F.pad(wave, (0, beyond)).unsqueeze(1), kernel, stride=stride)
        return F.pad(rows.transpose(1, 2).flatten(1), (0, -(beyond * more // fewer)))


def interpolator(factor: int, zeros: int) -> Tensor:
    """Taps of the low pass that fills in after `factor` - 1 zeros between samples; odd in number, 1 in the middle.

    float64. For 2 it is sinc(t) of t in samples under a Hann window that ends at t = `zeros`.
    """
    assert factor in (2, 4)
    time = torch.arange(-2 * zeros + 1, 2 * zeros, dtype=torch.float64) / 2
    taps = torch.sinc(time) * torch.cos(torch.pi * time / (2 * zeros)).square()
    taps[time.frac() == 0] = 0.0  # where sin(pi t) is not quite 0
    taps[2 * zeros - 1] = 1.0
    if factor == 2:
        return taps
    twice = torch.zeros(2 * len(taps) - 1, dtype=torch.float64)
    twice[::2] = taps
    return F.conv1d(twice[None, None], taps[None, None], padding=len(taps) - 1)[0, 0]


def _looked_up(taps: Tensor, index: Tensor) -> Tensor:
    """taps[index], 0 where there is none."""
    inside = (index >= 0) & (index < len(taps))
    return torch.where(inside, taps[index.clamp(0, len(taps) - 1)], 0.0)


def check_streamable(geometry: Geometry) -> None:
    """Raises ValueError unless frames begin and end with samples, and layers hand on whole steps."""
    kernel, stride, resample = geometry.kernel, geometry.stride, geometry.resample
    if kernel % stride or kernel == stride:
        raise ValueError(
            f"model.sizes.kernel_size of a causal demucs is 2, 3, ... times its stride ({stride}); got {kernel}"
        )
    if geometry.span % resample:
        raise ValueError(
            f"frames of a causal demucs of kernel_size={kernel}, stride={stride}, depth={geometry.depth} have "
            f"{geometry.span} samples, which model.sizes.resample must divide; got {resample}"
        )


@torch.no_grad()
def rescaled(module: nn.Module, reference: float) -> None:
    """Divides a convolution's weights and biases by the root of (deviation / `reference`); other modules stay.

    A. Défossez et al., "Music source separation in the waveform domain", 2019, section 3.
    """
    if isinstance(module, nn.Conv1d | nn.ConvTranspose1d):
        scale = (module.weight.std(correction=0) / reference).sqrt()
        module.weight /= scale
        module.bias /= scale
