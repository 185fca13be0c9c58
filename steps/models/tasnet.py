"""What the time-domain separators share: a learned filter bank, its inverse, and norms that hold in any precision.

Parameter names are asteroid's (`encoder.filterbank._filters`, `gamma`, `beta`, ...), so that its checkpoints load.
Norms compute in float32 whatever the autocast: their epsilon, asteroid's, is 0 in float16, where silence gave NaN.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

EPS = 1e-8  # of a variance; a larger one makes quiet speech another input than the same speech louder


class Filterbank(nn.Module):
    """The filters (n_filters, 1, kernel_size) of an encoder or a decoder ("free" filter bank)."""

    def __init__(self, n_filters: int, kernel_size: int):
        super().__init__()
        self._filters = nn.Parameter(torch.empty(n_filters, 1, kernel_size))
        nn.init.xavier_normal_(self._filters)


class Encoder(nn.Module):
    """(N, T) -> (N, F, K) frames, by convolution; `covered` says which lengths leave no sample over."""

    def __init__(self, n_filters: int, kernel_size: int, stride: int):
        super().__init__()
        self.filterbank = Filterbank(n_filters, kernel_size)
        self.stride = stride

    def forward(self, wave: Tensor) -> Tensor:
        return F.conv1d(wave.unsqueeze(1), self.filterbank._filters, stride=self.stride)


class Decoder(nn.Module):
    """(N, S, F, K) -> (N, S, T) with T = (K - 1) * stride + kernel_size, by transposed convolution."""

    def __init__(self, n_filters: int, kernel_size: int, stride: int):
        super().__init__()
        self.filterbank = Filterbank(n_filters, kernel_size)
        self.stride = stride

    def forward(self, frames: Tensor) -> Tensor:
        n, s = frames.shape[:2]
        wave = F.conv_transpose1d(frames.flatten(0, 1), self.filterbank._filters, stride=self.stride)
        return wave.reshape(n, s, -1)


def covered(wave: Tensor, kernel_size: int, stride: int) -> Tensor:
    """(N, T) -> (N, T'), zeros appended until frames of `kernel_size` every `stride` samples cover every sample."""
    length = wave.shape[-1]
    beyond = torch.sym_max(length - kernel_size, 0)
    return F.pad(wave, (0, kernel_size + (beyond + stride - 1) // stride * stride - length))


class GlobLN(nn.Module):
    """gLN of Luo and Mesgarani 2019, equation 11: (N, C, *) normalised over channels and everything after them."""

    def __init__(self, channels: int):
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(channels))
        self.beta = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):  # one group of all channels
            return F.group_norm(x.float(), 1, self.gamma.float(), self.beta.float(), EPS).to(x.dtype)


class ChanLN(nn.Module):
    """(N, C, *) normalised over channels alone."""

    def __init__(self, channels: int):
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(channels))
        self.beta = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            variance, mean = torch.var_mean(x.float(), dim=1, correction=0, keepdim=True)
            return affine((x.float() - mean) * inverse_root(variance), self.gamma, self.beta).to(x.dtype)


class CumLN(nn.Module):
    """cLN of Luo and Mesgarani 2019, equation 12: (N, C, K), each frame by the statistics up to and with it.

    Squares are summed about each utterance's first frame's mean: without that the variance of inputs far from zero is
    a difference of large numbers, and comes out negative.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(channels))
        self.beta = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            about = x.float() - x.float()[:, :, :1].mean(dim=1, keepdim=True)
            count = x.shape[1] * torch.arange(1, x.shape[2] + 1, device=x.device)
            mean = about.sum(dim=1).cumsum(dim=1) / count
            power = about.square().sum(dim=1).cumsum(dim=1) / count
            variance = (power - mean.square()).clamp(min=0.0)
            scaled = (about - mean.unsqueeze(1)) * inverse_root(variance).unsqueeze(1)
            return affine(scaled, self.gamma, self.beta).to(x.dtype)


def inverse_root(variance: Tensor) -> Tensor:
    """1 / sqrt(variance + EPS), in a form whose graph keeps EPS: ONNX's exporter takes an addend of 1e-8 for none."""
    return 100.0 * torch.rsqrt(1e4 * variance + 1e4 * EPS)


def affine(x: Tensor, gamma: Tensor, beta: Tensor) -> Tensor:
    """(N, C, *) times (C,) plus (C,), in float32."""
    shape = [1, -1, *[1] * (x.dim() - 2)]
    return x * gamma.float().reshape(shape) + beta.float().reshape(shape)


NORMS = {"gLN": GlobLN, "cLN": ChanLN, "cumLN": CumLN, "cgLN": CumLN, "BN": nn.BatchNorm1d, "bN": nn.BatchNorm1d}


def build_norm(name: str, channels: int) -> nn.Module:
    """The norm of asteroid's name: gLN, cLN (channels alone), cgLN (cumulative), BN. Raises ValueError for another."""
    if name not in NORMS:
        raise ValueError(f"model.sizes.norm_type: one of {', '.join(NORMS)}; got '{name}'")
    return NORMS[name](channels)


def build_activation(name: str | None) -> nn.Module:
    """relu, sigmoid, tanh, softmax (over sources, axis 1), linear or None. Raises ValueError for another."""
    known = {"relu": nn.ReLU, "sigmoid": nn.Sigmoid, "tanh": nn.Tanh, "linear": nn.Identity, "none": nn.Identity}
    if str(name).lower() == "softmax":
        return nn.Softmax(dim=1)
    if str(name).lower() not in known:
        raise ValueError(f"an activation is one of {', '.join(known)}, softmax; got '{name}'")
    return known[str(name).lower()]()


def check_sizes(n_filters: int, in_chan: int | None, out_chan: int | None, kernel_size: int, stride: int) -> None:
    """Raises ValueError, naming the option, where a filter bank and the masks over it do not fit together."""
    if in_chan not in (None, n_filters):
        raise ValueError(f"model.sizes.in_chan is n_filters ({n_filters}) or not given; got {in_chan}")
    if out_chan not in (None, 1, n_filters):
        raise ValueError(f"model.sizes.out_chan is n_filters ({n_filters}), 1 or not given; got {out_chan}")
    if not 1 <= stride <= kernel_size:
        raise ValueError(
            f"model.sizes.stride is from 1 to kernel_size ({kernel_size}), or samples are lost; got {stride}"
        )
