"""Conv-TasNet: masks over a learned filter bank, from a stack of dilated depthwise convolutions.

Y. Luo and N. Mesgarani, "Conv-TasNet: Surpassing ideal time-frequency magnitude masking for speech separation",
TASLP 2019, figures 1 and 2. Parameter names, arguments and defaults are asteroid's.

Shapes: N batch, T samples, K frames, F filters, B bottleneck, H hidden and C skip channels, S sources.
"""

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from steps.models.tasnet import Decoder, Encoder, build_activation, build_norm, check_sizes, covered


class ConvTasNet(nn.Module):
    """Mixtures (N, T) -> (N, S, T), T from 1 on.

    The paper's names: `n_filters` N, `kernel_size` L, `bn_chan` B, `skip_chan` Sc (0 for none), `hid_chan` H,
    `conv_kernel_size` P, `n_blocks` X, `n_repeats` R. `out_chan` is the masks' width where it is not `n_filters`: 1
    for one mask over all filters. `in_chan`, which checkpoints carry, is `n_filters`.

    Causal, an output sample knows of `kernel_size - 1` later input samples at most, those of its frames. A gLN, which
    looks ahead, is then cLN, as in asteroid; BN stays, and is causal once it is trained. `fold_norms` takes half of
    the BNs out. Raises ValueError for sizes that do not fit together.
    """

    def __init__(
        self,
        n_src: int,
        out_chan: int | None = None,
        n_blocks: int = 8,
        n_repeats: int = 3,
        bn_chan: int = 128,
        hid_chan: int = 512,
        skip_chan: int = 128,
        conv_kernel_size: int = 3,
        norm_type: str = "gLN",
        mask_act: str = "sigmoid",
        causal: bool = False,
        in_chan: int | None = None,
        encoder_activation: str | None = None,
        kernel_size: int = 16,
        n_filters: int = 512,
        stride: int = 8,
    ):
        super().__init__()
        check_sizes(n_filters, in_chan, out_chan, kernel_size, stride)
        if conv_kernel_size % 2 == 0 and not causal:
            raise ValueError(f"model.sizes.conv_kernel_size must be odd to be centred; got {conv_kernel_size}")
        self.causal = causal
        self.kernel_size, self.stride = kernel_size, stride
        self.norm_type = "cLN" if causal and norm_type == "gLN" else norm_type
        self.encoder = Encoder(n_filters, kernel_size, stride)
        self.encoder_activation = build_activation(encoder_activation)
        blocks = [
            TemporalBlock(bn_chan, hid_chan, skip_chan, conv_kernel_size, 2**depth, self.norm_type, causal)
            for _ in range(n_repeats)
            for depth in range(n_blocks)
        ]
        self.masker = Masker(n_src, n_filters, out_chan or n_filters, bn_chan, skip_chan, blocks, self.norm_type)
        self.masker.output_act = build_activation(mask_act)
        self.decoder = Decoder(n_filters, kernel_size, stride)

    def forward(self, mixture: Tensor) -> Tensor:
        """(N, T) -> (N, S, T), float32. Under autocast the filter bank, which sets how fine the waveform is, stays
        in float32 too."""
        wave = covered(mixture, self.kernel_size, self.stride)
        if self.training and self.norm_type == "BN" and wave.shape[-1] == self.kernel_size:
            wave = F.pad(wave, (0, self.stride))  # one frame of one mixture would have no variance
        with torch.autocast(mixture.device.type, enabled=False):
            frames = self.encoder_activation(self.encoder(wave.float()))  # (N, F, K)
        masks = self.masker(frames)
        with torch.autocast(mixture.device.type, enabled=False):
            return self.decoder(masks.float() * frames.unsqueeze(1))[..., : mixture.shape[-1]]


class Masker(nn.Module):
    """Frames (N, F, K) -> masks (N, S, F, K): the paper's figure 2, "separation"."""

    def __init__(
        self,
        n_src: int,
        n_filters: int,
        out_chan: int,
        bn_chan: int,
        skip_chan: int,
        blocks: list["TemporalBlock"],
        norm_type: str,
    ):
        super().__init__()
        self.n_src = n_src
        self.skip_chan = skip_chan
        self.bottleneck = nn.Sequential(build_norm(norm_type, n_filters), nn.Conv1d(n_filters, bn_chan, 1))
        self.TCN = nn.ModuleList(blocks)
        self.mask_net = nn.Sequential(nn.PReLU(), nn.Conv1d(skip_chan or bn_chan, n_src * out_chan, 1))
        self.output_act: nn.Module = nn.Identity()
        if skip_chan:  # the last block's residual leads nowhere: never trained, kept because checkpoints have it
            blocks[-1].res_conv.requires_grad_(False)

    def forward(self, frames: Tensor) -> Tensor:
        x = self.bottleneck(frames)
        skips: Tensor | float = 0.0
        for block in self.TCN:
            hidden = block(x)
            if self.skip_chan:
                skips = skips + block.skip_conv(hidden)
            if not (self.skip_chan and block is self.TCN[-1]):
                x = x + block.res_conv(hidden)
        score = self.mask_net(skips if self.skip_chan else x)
        n, _, k = score.shape
        return self.output_act(score.reshape(n, self.n_src, -1, k))  # (N, S * F, K) -> (N, S, F, K)


class TemporalBlock(nn.Module):
    """(N, B, K) -> (N, H, K), from which `res_conv` and `skip_conv` make the block's two outputs."""

    def __init__(
        self, bn_chan: int, hid_chan: int, skip_chan: int, width: int, dilation: int, norm_type: str, causal: bool
    ):
        super().__init__()
        reach = (width - 1) * dilation
        padding = reach if causal else reach // 2
        depthwise: nn.Module = nn.Conv1d(hid_chan, hid_chan, width, padding=padding, dilation=dilation, groups=hid_chan)
        if causal:
            depthwise = nn.Sequential(depthwise, Chop(padding))
        self.shared_block = nn.Sequential(
            nn.Conv1d(bn_chan, hid_chan, 1),
            nn.PReLU(),
            build_norm(norm_type, hid_chan),
            depthwise,
            nn.PReLU(),
            build_norm(norm_type, hid_chan),
        )
        self.res_conv = nn.Conv1d(hid_chan, bn_chan, 1)
        if skip_chan:
            self.skip_conv = nn.Conv1d(hid_chan, skip_chan, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.shared_block(x)


class Chop(nn.Module):
    """(N, C, K + frames) -> (N, C, K): without the last `frames`, which a convolution padded on both sides adds."""

    def __init__(self, frames: int):
        super().__init__()
        self.frames = frames

    def forward(self, x: Tensor) -> Tensor:
        return x[..., : x.shape[-1] - self.frames]


def fold_norms(model: ConvTasNet) -> ConvTasNet:
    """A copy in evaluation mode without those batch normalisations that a convolution of width 1 follows.

    They become part of its weights, and the outputs stay the same but for rounding. The norm before a depthwise
    convolution stays: that convolution sees zeros, not the norm of zeros, beyond the ends. A model with other norms
    is copied as it is.
    """
    folded = copy.deepcopy(model).eval()
    norm, convolution = folded.masker.bottleneck
    folded.masker.bottleneck[0] = fold(norm, convolution)
    for block in folded.masker.TCN:
        after = [block.res_conv] + ([block.skip_conv] if folded.masker.skip_chan else [])
        block.shared_block[5] = fold(block.shared_block[5], *after)
    return folded


@torch.no_grad()
def fold(norm: nn.Module, *convolutions: nn.Conv1d) -> nn.Module:
    """Moves a batch normalisation with its running statistics into the convolutions after it; returns what stays of
    the norm: nothing, or itself where it is another one."""
    if not isinstance(norm, nn.BatchNorm1d):
        return norm
    scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
    shift = norm.bias - norm.running_mean * scale
    for convolution in convolutions:
        convolution.bias += convolution.weight.squeeze(2) @ shift
        convolution.weight *= scale.unsqueeze(1)
    return nn.Identity()
