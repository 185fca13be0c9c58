"""Networks of complex numbers on spectra, as pairs of real tensors: ONNX has no complex ones.

H.-S. Choi et al., "Phase-aware speech enhancement with deep complex U-Net" (ICLR 2019): a U-Net of complex convolutions
gives a complex factor, the mask, for each bin and frame. Parameter names are asteroid's (`re_module`, `im_module`,
`masker.encoders.0.conv`, ...), so that its checkpoints load.

Shapes: N batch, T samples, B bins, K frames, C channels, F bins of a layer; W samples of a window.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from steps.models.recurrent import build_rnn, outputs

Pair = tuple[Tensor, Tensor]  # real and imaginary parts, of one shape

POWER_FLOOR = 1e-8  # added to a mask's power before its root, whose gradient at 0 is not finite
BOUNDS = {"tanh": "tanh", "BDT": "tanh", "sigmoid": "sigmoid", "BDSS": "sigmoid", None: None, "UBD": None}


class Layer(NamedTuple):
    """A level of a U-Net: a convolution that gives `channels`. Sizes are those along bins and along frames."""

    channels: int
    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]


class OnParts(nn.Module):
    """One module for real parts and another of its kind for imaginary parts."""

    def __init__(self, build: Callable[..., nn.Module], *args: Any, **options: Any):
        super().__init__()
        self.re_module, self.im_module = build(*args, **options), build(*args, **options)

    def forward(self, z: Pair) -> Pair:
        """The shapes that the modules take and give."""
        return self.re_module(z[0]), self.im_module(z[1])


class Product(nn.Module):
    """Two modules R and I as the parts of one: (R + iI)(a + ib) = R(a) - I(b) + i(R(b) + I(a)) (equation 2).

    Of convolutions this is one with complex weights; of LSTMs, what Hu et al. (equation 3) take for one.
    """

    def __init__(self, build: Callable[..., nn.Module], *args: Any, **options: Any):
        super().__init__()
        self.re_module, self.im_module = build(*args, **options), build(*args, **options)

    def forward(self, z: Pair) -> Pair:
        """(N, *) twice -> (N, *') twice, as the modules make of (2 N, *): each runs once, over both parts."""
        count, both = z[0].shape[0], torch.cat(z)
        first, second = self.re_module(both), self.im_module(both)
        return first[:count] - second[count:], first[count:] + second[:count]


class EncoderBlock(nn.Module):
    """A complex convolution; norm and activation for each part by itself."""

    def __init__(self, channels: int, layer: Layer, activation: Callable[[], nn.Module]):
        super().__init__()
        self.conv = Product(nn.Conv2d, channels, *layer, bias=False)
        self.norm = OnParts(nn.BatchNorm2d, layer.channels)
        self.activation = OnParts(activation)

    def forward(self, z: Pair) -> Pair:
        """(N, C, F, K) twice -> (N, C', F', K') twice"""
        return self.activation(self.norm(self.conv(z)))


class DecoderBlock(nn.Module):
    """The same with a transposed convolution, which undoes what `layer` does to the sizes."""

    def __init__(self, channels: int, layer: Layer, output_padding: tuple[int, int], activation: Any):
        super().__init__()
        self.deconv = Product(nn.ConvTranspose2d, channels, *layer, output_padding, bias=False)
        self.norm = OnParts(nn.BatchNorm2d, layer.channels)
        self.activation = OnParts(activation)

    def forward(self, z: Pair) -> Pair:
        """(N, C, F, K) twice -> (N, C', F', K') twice"""
        return self.activation(self.norm(self.deconv(z)))


class Recurrence(nn.Module):
    """An LSTM over frames: (N, K, C) -> (N, K, C')."""

    def __init__(self, channels: int, cells: int):
        super().__init__()
        self.rnn = build_rnn("LSTM", channels, cells, 1, 0.0, False)

    def forward(self, x: Tensor) -> Tensor:
        return outputs(self.rnn, x)


class ComplexLstm(nn.Module):
    """Complex LSTMs one after the other."""

    def __init__(self, channels: int, cells: int, layers: int):
        super().__init__()
        widths = [channels, *[cells] * (layers - 1)]
        self.rnns = nn.ModuleList(Product(Recurrence, width, cells) for width in widths)

    def forward(self, z: Pair) -> Pair:
        """(N, K, C) twice -> (N, K, C') twice"""
        for rnn in self.rnns:
            z = rnn(z)
        return z


class Bound(nn.Module):
    """What a mask can be, by asteroid's names and the paper's (section 3.2).

    "tanh" or "BDT": magnitudes below 1, phases as they are. "sigmoid" or "BDSS": each part between 0 and 1, which is
    what asteroid makes of it. None or "UBD": anything. Raises ValueError for another name.
    """

    def __init__(self, name: str | None):
        super().__init__()
        if name not in BOUNDS:
            known = ", ".join(str(bound) for bound in BOUNDS)
            raise ValueError(f"model.sizes.mask_bound: one of {known}; got '{name}'")
        self.kind = BOUNDS[name]

    def forward(self, mask: Pair) -> Pair:
        """Any shape twice, in float32."""
        with torch.autocast(mask[0].device.type, enabled=False):
            real, imag = mask[0].float(), mask[1].float()
            if self.kind == "sigmoid":
                return real.sigmoid(), imag.sigmoid()
            if self.kind is None:
                return real, imag
            size = (real.square() + imag.square() + POWER_FLOOR).sqrt()
            factor = size.tanh() / size  # no phase, which has no gradient at 0
            return factor * real, factor * imag


class ComplexUNet(nn.Module):
    """From spectra to masks: `layers` downwards, their mirror image upwards, outputs of the same size side by side.

    `middle`, if given, keeps the shape of the last layer's output, which then goes around it as well. `widths` are
    the channels of the layers upwards, if not the mirror image's.
    """

    def __init__(
        self,
        layers: Sequence[Layer],
        activation: Callable[[], nn.Module],
        mask_bound: str | None,
        middle: nn.Module | None = None,
        widths: Sequence[int] = (),
        output_padding: tuple[int, int] = (0, 0),
    ):
        super().__init__()
        channels = [1, *(layer.channels for layer in layers)]
        encoders = [EncoderBlock(width, layer, activation) for width, layer in zip(channels, layers, strict=False)]
        last, decoders = layers[-1].channels, []
        if middle is not None:
            encoders.append(middle)
            decoders.append(nn.Identity())
            last *= 2
        for index in range(len(layers) - 1, 0, -1):
            up = layers[index]._replace(channels=widths[len(layers) - 1 - index] if widths else channels[index])
            decoders.append(DecoderBlock(last, up, output_padding, activation))
            last = up.channels + channels[index]
        self.encoders, self.decoders = nn.ModuleList(encoders), nn.ModuleList(decoders)
        output = Product(nn.ConvTranspose2d, last, *layers[0]._replace(channels=1), output_padding)
        self.output_layer = nn.Sequential(output, Bound(mask_bound))

    def forward(self, z: Pair) -> Pair:
        """(N, B, K) twice -> (N, B, K) twice, float32; for B and K that the strides undo."""
        z = z[0].unsqueeze(1), z[1].unsqueeze(1)
        passed = []
        for encoder in self.encoders:
            z = encoder(z)
            passed.append(z)
        for decoder, other in zip(self.decoders, reversed(passed[:-1]), strict=True):
            z = decoder(z)
            z = torch.cat([z[0], other[0]], dim=1), torch.cat([z[1], other[1]], dim=1)
        real, imag = self.output_layer(z)
        return real.squeeze(1), imag.squeeze(1)


class StftFilters(nn.Module):
    """Fixed filters (2 B, 1, W) that are their own inverse: real parts of B = n_filters / 2 + 1 bins, then imaginary.

    The window is the root of a periodic Hann window, in the middle of `n_filters` samples, from which phases count.
    """

    def __init__(self, n_filters: int, kernel_size: int, stride: int):
        super().__init__()
        if n_filters % 2 or kernel_size > n_filters or stride < 1 or kernel_size % stride or kernel_size < 2 * stride:
            raise ValueError(
                "model.sizes: stft_n_filters is even and stft_kernel_size or more, which is twice stft_stride or "
                f"another multiple; got {n_filters}, {kernel_size} and {stride}"
            )
        bins = n_filters // 2 + 1
        window = torch.hann_window(kernel_size, dtype=torch.float64).sqrt()
        place = torch.arange(kernel_size, dtype=torch.float64) + (n_filters - kernel_size) // 2
        angle = 2 * math.pi / n_filters * (torch.arange(bins, dtype=torch.float64).unsqueeze(1) * place % n_filters)
        size = torch.full((bins, 1), 2 * math.sqrt(stride / (kernel_size * n_filters)), dtype=torch.float64)
        size[[0, -1]] /= math.sqrt(2)  # bins that are their own conjugates
        filters = torch.cat([size * angle.cos(), -size * angle.sin()]) * window
        self.register_buffer("_filters", filters.unsqueeze(1).float())
        self.register_buffer("torch_window", window.float())

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        """Older checkpoints do not have the window, which no computation uses."""
        state_dict.setdefault(f"{prefix}torch_window", self.torch_window)
        super()._load_from_state_dict(state_dict, prefix, *args)


class StftEncoder(nn.Module):
    """(N, T) -> (N, B, K) twice, K = (T - W) // stride + 1, in float32."""

    def __init__(self, filterbank: StftFilters, stride: int):
        super().__init__()
        self.filterbank, self.stride = filterbank, stride

    def forward(self, wave: Tensor) -> Pair:
        with torch.autocast(wave.device.type, enabled=False):
            both = F.conv1d(wave.float().unsqueeze(1), self.filterbank._filters, stride=self.stride)
        return both.chunk(2, dim=1)


class StftDecoder(nn.Module):
    """(N, B, K) twice -> (N, (K - 1) stride + W), in float32; samples that are in all their frames come back."""

    def __init__(self, filterbank: StftFilters, stride: int):
        super().__init__()
        self.filterbank, self.stride = filterbank, stride

    def forward(self, z: Pair) -> Tensor:
        with torch.autocast(z[0].device.type, enabled=False):
            both = torch.cat(z, dim=1)
            return F.conv_transpose1d(both, self.filterbank._filters, stride=self.stride).squeeze(1)


class ComplexMaskNetwork(nn.Module):
    """(N, T) -> (N, 1, T) by a `masker` from spectra (N, B, K) to factors for them, both as pairs.

    The waveform is put among zeros, such that its first and last samples are in as many frames as all others, and K
    among what `layers` can undo: asteroid's networks, which do not do so, fade in, and leave zeros behind.
    `nyquist`: whether the last bin goes through the masker; if not, it is silent.
    """

    def __init__(self, sizes: tuple[int, int, int], layers: Sequence[Layer], masker: nn.Module, nyquist: bool):
        super().__init__()
        n_filters, self.kernel_size, self.stride = sizes
        filterbank = StftFilters(*sizes)  # one, under asteroid's two names
        self.encoder = StftEncoder(filterbank, self.stride)
        self.masker = masker
        self.decoder = StftDecoder(filterbank, self.stride)
        self.bins = n_filters // 2 + nyquist
        self.ahead = sum(layer.kernel[1] - 1 - 2 * layer.padding[1] for layer in layers)  # frames that a frame needs
        self.multiple = math.prod(layer.stride[1] for layer in layers)

    @property
    def causal(self) -> bool:
        """Whether no output depends on later input."""
        return False

    def forward(self, mixture: Tensor) -> Tensor:
        """(N, T) -> (N, 1, T), float32, T from 1 on."""
        samples, before = mixture.shape[1], self.kernel_size - self.stride
        steps = (before + samples - 1) // self.stride + self.ahead  # one less than the frames
        steps = (steps + self.multiple - 1) // self.multiple * self.multiple
        behind = steps * self.stride + self.stride - samples
        real, imag = self.encoder(F.pad(mixture, (before, behind)))
        beyond = real.shape[1] - self.bins
        real, imag = real[:, : self.bins], imag[:, : self.bins]
        gain, turn = self.masker((real, imag))
        masked = gain * real - turn * imag, gain * imag + turn * real
        wave = self.decoder(tuple(F.pad(part, (0, 0, 0, beyond)) for part in masked))
        return wave[:, before : before + samples].unsqueeze(1)


def checked(name: str, n_src: int, architecture: str, tables: dict[str, Any], n_filters: int) -> tuple[Layer, ...]:
    """The layers of an architecture. Raises ValueError unless there are such, for one source and so many bins."""
    if n_src != 1:
        raise ValueError(f"{name} enhances one talker: n_src is 1; got {n_src}")
    if architecture not in tables:
        raise ValueError(f"model.sizes.architecture: one of {', '.join(tables)}; got '{architecture}'")
    multiple = 2 * math.prod(layer.stride[0] for layer in tables[architecture])
    if n_filters < 1 or n_filters % multiple:
        raise ValueError(f"model.sizes.stft_n_filters: a multiple of {multiple} for {architecture}; got {n_filters}")
    return tables[architecture]
