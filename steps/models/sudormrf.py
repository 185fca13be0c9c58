"""SuDoRM-RF: masks over a learned filter bank, from blocks that go down in time by halves and up again.

E. Tzinis, Z. Wang and P. Smaragdis, "Sudo rm -rf: Efficient networks for universal audio source separation", MLSP
2020, figures 1 and 2; the improved one is that of its extended version, "Compute and memory efficient universal
sound source separation", 2021. Parameter names, arguments and defaults are asteroid's, but `stride` is honoured.

Shapes: N batch, T samples, K frames, F filters, B bottleneck channels, S sources.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from steps.models.tasnet import EPS, Decoder, Encoder, GlobLN, build_activation


class SuDORMRF(nn.Module):
    """What both nets share: filter bank, masks, and the lengths at which frames can be halved and doubled.

    `masker` maps frames (N, F, K) to masks (N, S, F, K). A subclass gives it, and says what the encoder's activation
    is. Raises ValueError for sizes that do not fit together.
    """

    causal = False

    def __init__(
        self,
        masker: nn.Module,
        activation: str | None,
        n_filters: int,
        in_chan: int | None,
        kernel_size: int,
        stride: int | None,
        upsampling_depth: int,
    ):
        super().__init__()
        if in_chan not in (None, n_filters):
            raise ValueError(f"model.sizes.in_chan is n_filters ({n_filters}) or not given; got {in_chan}")
        self.lead = kernel_size // 2  # samples of the first frame that lie before the first sample
        stride = self.lead if stride is None else stride
        if not 1 <= stride <= kernel_size - self.lead:
            most = kernel_size - self.lead
            raise ValueError(f"model.sizes.stride is from 1 to {most} for kernel_size {kernel_size}; got {stride}")
        self.multiple = math.lcm(stride, 2**upsampling_depth)
        self.encoder = PaddedEncoder(Encoder(n_filters, kernel_size, stride))
        self.encoder_activation = build_activation(activation)
        self.masker = masker
        self.decoder = Decoder(n_filters, kernel_size, stride)

    def forward(self, mixture: Tensor) -> Tensor:
        """(N, T) -> (N, S, T), float32. Under autocast the filter bank stays in float32 too."""
        length = mixture.shape[-1]
        beyond = (length + self.multiple - 1) // self.multiple * self.multiple - length
        with torch.autocast(mixture.device.type, enabled=False):
            wave = F.pad(mixture.float(), (self.lead, beyond + self.lead))
            frames = self.encoder_activation(self.encoder(wave))  # (N, F, K)
        masks = self.masker(frames)
        with torch.autocast(mixture.device.type, enabled=False):
            return self.decoder(masks.float() * frames.unsqueeze(1))[..., self.lead : self.lead + length]


class PaddedEncoder(nn.Module):
    """An encoder under two names, as in asteroid, whose checkpoints have its filters twice."""

    def __init__(self, encoder: Encoder):
        super().__init__()
        self.encoder = encoder
        self.filterbank = encoder.filterbank

    def forward(self, wave: Tensor) -> Tensor:
        return self.encoder(wave)


class SuDORMRFNet(SuDORMRF):
    """The network as first published: (N, T) -> (N, S, T), T from 1 on.

    The paper's names: `n_filters` C_E, `kernel_size` K_E, `bn_chan` C, `num_blocks` B, `upsampling_depth` Q; the
    blocks are as wide inside as the filter bank. `stride` is half a kernel where it is not given. Raises ValueError
    for an odd `n_filters`, which the masks cannot have.
    """

    def __init__(
        self,
        n_src: int,
        bn_chan: int = 128,
        num_blocks: int = 16,
        upsampling_depth: int = 4,
        mask_act: str = "softmax",
        in_chan: int | None = None,
        kernel_size: int = 21,
        n_filters: int = 512,
        stride: int | None = None,
    ):
        if n_filters % 2:
            raise ValueError(f"model.sizes.n_filters must be even for sudormrf; got {n_filters}")
        masker = Masker(n_src, n_filters, bn_chan, num_blocks, upsampling_depth, mask_act)
        super().__init__(masker, "relu", n_filters, in_chan, kernel_size, stride, upsampling_depth)


class SuDORMRFImprovedNet(SuDORMRF):
    """The improved network, lighter by its masks, which are a convolution of width 1: (N, T) -> (N, S, T), T from 1 on.

    Arguments are those of `SuDORMRFNet`.
    """

    def __init__(
        self,
        n_src: int,
        bn_chan: int = 128,
        num_blocks: int = 16,
        upsampling_depth: int = 4,
        mask_act: str = "relu",
        in_chan: int | None = None,
        kernel_size: int = 21,
        n_filters: int = 512,
        stride: int | None = None,
    ):
        masker = ImprovedMasker(n_src, n_filters, bn_chan, num_blocks, upsampling_depth, mask_act)
        super().__init__(masker, None, n_filters, in_chan, kernel_size, stride, upsampling_depth)


class Masker(nn.Module):
    """Frames (N, F, K) -> masks (N, S, F, K) by a filter that slides over the F axis, F + 1 wide."""

    def __init__(self, n_src: int, n_filters: int, bn_chan: int, blocks: int, depth: int, mask_act: str):
        super().__init__()
        self.ln = GroupNorm(n_filters)
        self.l1 = nn.Conv1d(n_filters, bn_chan, 1)
        self.sm = nn.Sequential(*(UBlock(bn_chan, n_filters, depth) for _ in range(blocks)))
        if bn_chan != n_filters:
            self.reshape_before_masks = nn.Conv1d(bn_chan, n_filters, 1)
        self.m = nn.Conv2d(1, n_src, (n_filters + 1, 1), padding=(n_filters - n_filters // 2, 0))
        self.output_act = build_activation(mask_act)

    def forward(self, frames: Tensor) -> Tensor:
        x = self.sm(self.l1(self.ln(frames)))
        if hasattr(self, "reshape_before_masks"):
            x = self.reshape_before_masks(x)
        return self.output_act(self.m(x.unsqueeze(1)))


class ImprovedMasker(nn.Module):
    """Frames (N, F, K) -> masks (N, S, F, K) by a convolution of width 1."""

    def __init__(self, n_src: int, n_filters: int, bn_chan: int, blocks: int, depth: int, mask_act: str):
        super().__init__()
        self.n_src = n_src
        self.ln = GlobLN(n_filters)
        self.bottleneck = nn.Conv1d(n_filters, bn_chan, 1)
        self.sm = nn.Sequential(*(UConvBlock(bn_chan, n_filters, depth) for _ in range(blocks)))
        self.mask_net = nn.Sequential(nn.PReLU(), nn.Conv1d(bn_chan, n_src * n_filters, 1))
        self.output_act = build_activation(mask_act)

    def forward(self, frames: Tensor) -> Tensor:
        score = self.mask_net(self.sm(self.bottleneck(self.ln(frames))))
        n, _, k = score.shape
        return self.output_act(score.reshape(n, self.n_src, -1, k))  # (N, S * F, K) -> (N, S, F, K)


class Pyramid(nn.Module):
    """Widens B channels to F, halves their rate `depth` - 1 times, and adds all rates up again: (N, B, K) -> (N, F, K).

    `norm` builds the norms of F channels; `slopes` is how many the PReLU behind the first has.
    """

    def __init__(self, bn_chan: int, n_filters: int, depth: int, norm: type[nn.Module], slopes: int):
        super().__init__()
        first = nn.Conv1d(bn_chan, n_filters, 1)
        self.proj_1x1 = named(conv=first, norm=norm(n_filters), act=nn.PReLU(slopes))
        self.spp_dw = nn.ModuleList(
            named(
                conv=nn.Conv1d(n_filters, n_filters, 5, stride=min(level + 1, 2), padding=2, groups=n_filters),
                norm=norm(n_filters),
            )
            for level in range(depth)
        )
        self.final_norm = named(norm=norm(n_filters), act=nn.PReLU(n_filters))

    def gathered(self, x: Tensor) -> Tensor:
        """(N, B, K) -> (N, F, K), normalised and rectified."""
        x = self.proj_1x1(x)
        levels = []
        for down in self.spp_dw:
            x = down(x)
            levels.append(x)
        for level in reversed(levels[:-1]):
            x = level + doubled(x)[..., : level.shape[-1]]
        return self.final_norm(x)


class UBlock(Pyramid):
    """A block of `SuDORMRFNet`: (N, B, K) -> (N, B, K), normalised and rectified after the residual is added."""

    def __init__(self, bn_chan: int, n_filters: int, depth: int):
        super().__init__(bn_chan, n_filters, depth, GroupNorm, slopes=n_filters)
        self.conv_1x1_exp = named(conv=nn.Conv1d(n_filters, bn_chan, 1), norm=GroupNorm(bn_chan))
        self.module_act = named(norm=GroupNorm(bn_chan), act=nn.PReLU(bn_chan))

    def forward(self, x: Tensor) -> Tensor:
        return self.module_act(x + self.conv_1x1_exp(self.gathered(x)))


class UConvBlock(Pyramid):
    """A block of `SuDORMRFImprovedNet`: (N, B, K) -> (N, B, K), the residual is added to what it was."""

    def __init__(self, bn_chan: int, n_filters: int, depth: int):
        super().__init__(bn_chan, n_filters, depth, GlobLN, slopes=1)
        self.res_conv = nn.Conv1d(n_filters, bn_chan, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.res_conv(self.gathered(x))


class GroupNorm(nn.GroupNorm):
    """(N, C, K) normalised over C and K, in float32: gLN under torch's parameter names."""

    def __init__(self, channels: int):
        super().__init__(1, channels, eps=EPS)

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            return super().forward(x.float()).to(x.dtype)


def named(**modules: nn.Module) -> nn.Sequential:
    """Modules in a row whose parameters go by these names."""
    row = nn.Sequential()
    for name, module in modules.items():
        row.add_module(name, module)
    return row


def doubled(x: Tensor) -> Tensor:
    """(N, C, K) -> (N, C, 2 K), each frame twice."""
    return F.interpolate(x, scale_factor=2.0)
