"""CAM++: a densely connected TDNN whose layers are gated by the context of their segment and of the utterance.

H. Wang et al., "CAM++: A Fast and Efficient Network for Speaker Verification Using Context-Aware Masking",
Interspeech 2023. Parameter names are those of the authors' 3D-Speaker, which wespeaker shares, so that
checkpoints of both load as they are. One difference in the order of work: a gate is computed once for each
segment and then repeated over its frames, where theirs repeats first; the result is the same for less work.

Shapes: N batch, T frames, F mel bins, C channels, S segments, E embedding.
"""

from collections import OrderedDict

import torch
from torch import Tensor, nn
from torch.nn import functional

from steps.models.masking import frame_mask, halved, mean, silence_padding
from steps.models.pooling import StatisticsPooling

TDNN_SHARE = 4  # channels of the first TDNN layer, times the growth
BLOCKS = ((12, 1), (24, 2), (16, 2))  # layers, dilation
SEGMENT = 100  # frames, here of 20 ms


class CamPlusPlus(nn.Module):
    """Embeddings of CAM++ with 12, 24 and 16 dense layers, each of which adds `growth` channels.

    The widths of the front end and the first layer follow the growth; as published it is 32.

    Works from 1 frame on; the deviations of a single frame (features of 1 or 2 frames) are 0.
    """

    def __init__(self, num_mel_bins: int, embedding_dim: int, growth: int = 32):
        super().__init__()
        self.embedding_dim = embedding_dim
        self.head = FrontEnd(num_mel_bins, growth)
        channels = TDNN_SHARE * growth
        stages = {"tdnn": Tdnn(self.head.channels, channels)}
        for number, (layers, dilation) in enumerate(BLOCKS, start=1):
            stages[f"block{number}"] = DenseBlock(layers, channels, growth, dilation)
            channels += layers * growth
            stages[f"transit{number}"] = Transit(channels, channels // 2)
            channels //= 2
        stages["out_nonlinear"] = norm_relu(channels)
        stages["dense"] = Dense(2 * channels, embedding_dim)
        self.xvector = nn.ModuleDict(stages)
        self.pooling = StatisticsPooling()
        for module in self.modules():
            if isinstance(module, nn.Conv1d):
                nn.init.kaiming_normal_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, features: Tensor, lengths: Tensor | None = None) -> Tensor:
        """features (N, T, F), lengths (N,) in frames or None where all have T -> embeddings (N, E)."""
        x = features.transpose(1, 2)  # (N, T, F) -> (N, F, T)
        x = self.head(x, frame_mask(lengths, x.shape[-1]))
        x = self.xvector["tdnn"](x)
        mask = frame_mask(halved(lengths), x.shape[-1])
        for number in range(1, len(BLOCKS) + 1):
            x = self.xvector[f"block{number}"](x, mask)
            x = self.xvector[f"transit{number}"](x)
        return self.xvector["dense"](self.pooling(self.xvector["out_nonlinear"](x), mask))


class FrontEnd(nn.Module):
    """The "front-end convolution module": residual, 2-d; keeps the frames and leaves an eighth of the mel bins."""

    def __init__(self, num_mel_bins: int, width: int):
        super().__init__()
        self.channels = width * -(-num_mel_bins // 8)
        self.conv1 = nn.Conv2d(1, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.layer1 = nn.ModuleList([FrontBlock(width, stride=2), FrontBlock(width, stride=1)])
        self.layer2 = nn.ModuleList([FrontBlock(width, stride=2), FrontBlock(width, stride=1)])
        self.conv2 = nn.Conv2d(width, width, 3, stride=(2, 1), padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """x (N, F, T), mask (N, T) or None -> (N, C, T) with zeros in the padding."""
        x = silence_padding(x, mask).unsqueeze(1)  # (N, F, T) -> (N, 1, F, T)
        x = functional.relu(self.bn1(self.conv1(x)))
        for block in [*self.layer1, *self.layer2]:
            x = block(x, mask)
        x = functional.relu(self.bn2(self.conv2(silence_padding(x, mask))))
        return silence_padding(x.flatten(1, 2), mask)  # (N, width, F / 8, T) -> (N, C, T)


class FrontBlock(nn.Module):
    """Two convolutions beside a shortcut; `stride` divides the mel bins."""

    def __init__(self, channels: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, stride=(stride, 1), padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.shortcut = nn.Sequential()
        if stride > 1:
            self.shortcut.append(nn.Conv2d(channels, channels, 1, stride=(stride, 1), bias=False))
            self.shortcut.append(nn.BatchNorm2d(channels))

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """x (N, C, F, T), mask (N, T) or None -> (N, C, F / stride, T)"""
        y = functional.relu(self.bn1(self.conv1(silence_padding(x, mask))))
        y = self.bn2(self.conv2(silence_padding(y, mask)))
        return functional.relu(y + self.shortcut(x))


class Tdnn(nn.Module):
    """5 frames wide, stride 2."""

    def __init__(self, channels: int, out_channels: int):
        super().__init__()
        self.linear = nn.Conv1d(channels, out_channels, 5, stride=2, padding=2, bias=False)
        self.nonlinear = norm_relu(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, T) with zeros in the padding -> (N, C', ceil(T / 2))"""
        return self.nonlinear(self.linear(x))


class DenseBlock(nn.ModuleDict):
    """Layers that each see the outputs of all before and add `growth` channels."""

    def __init__(self, layers: int, channels: int, growth: int, dilation: int):
        super().__init__()
        for layer in range(layers):
            self[f"tdnnd{layer + 1}"] = DenseLayer(channels + layer * growth, growth, dilation)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """x (N, C, T), mask (N, T) or None -> (N, C + layers * growth, T)"""
        for layer in self.values():
            x = torch.cat([x, layer(x, mask)], dim=1)
        return x


class DenseLayer(nn.Module):
    """A bottleneck of 4 * growth channels, then the gated convolution."""

    def __init__(self, channels: int, growth: int, dilation: int):
        super().__init__()
        self.nonlinear1 = norm_relu(channels)
        self.linear1 = nn.Conv1d(channels, 4 * growth, 1, bias=False)
        self.nonlinear2 = norm_relu(4 * growth)
        self.cam_layer = ContextAwareMask(4 * growth, growth, dilation)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """x (N, C, T), mask (N, T) or None -> (N, growth, T)"""
        return self.cam_layer(self.nonlinear2(self.linear1(self.nonlinear1(x))), mask)


class ContextAwareMask(nn.Module):
    """A 3-wide convolution times a gate from the means of the utterance and of the segment."""

    def __init__(self, channels: int, out_channels: int, dilation: int):
        super().__init__()
        self.linear_local = nn.Conv1d(channels, out_channels, 3, padding=dilation, dilation=dilation, bias=False)
        self.linear1 = nn.Conv1d(channels, channels // 2, 1)
        self.linear2 = nn.Conv1d(channels // 2, out_channels, 1)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """x (N, C, T), mask (N, T) or None -> (N, C', T)"""
        x = silence_padding(x, mask)
        context = mean(x, mask) + segment_means(x, mask)  # (N, C, S)
        gate = self.linear2(functional.relu(self.linear1(context))).sigmoid()
        gate = gate.unsqueeze(-1).expand(-1, -1, -1, SEGMENT).flatten(2)  # (N, C', S) -> (N, C', S * SEGMENT)
        return self.linear_local(x) * gate[..., : x.shape[-1]]


class Transit(nn.Module):
    """(N, C, T) -> (N, C', T)"""

    def __init__(self, channels: int, out_channels: int):
        super().__init__()
        self.nonlinear = norm_relu(channels)
        self.linear = nn.Conv1d(channels, out_channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, T) -> (N, C', T)"""
        return self.linear(self.nonlinear(x))


class Dense(nn.Module):
    """(N, C) -> (N, E), normalised over the batch without scale or shift."""

    def __init__(self, channels: int, embedding_dim: int):
        super().__init__()
        self.linear = nn.Conv1d(channels, embedding_dim, 1, bias=False)
        self.nonlinear = nn.Sequential(OrderedDict(batchnorm=nn.BatchNorm1d(embedding_dim, affine=False)))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C) -> (N, E)"""
        return self.nonlinear(self.linear(x.unsqueeze(-1)).squeeze(-1))


def norm_relu(channels: int) -> nn.Sequential:
    """Batch normalisation and ReLU, with the published names."""
    return nn.Sequential(OrderedDict(batchnorm=nn.BatchNorm1d(channels), relu=nn.ReLU(inplace=True)))


def segment_means(x: Tensor, mask: Tensor | None) -> Tensor:
    """x (N, C, T) with zeros in the padding, mask (N, T) or None -> (N, C, S): the mean of each 100 frames.

    The last segment is the mean over the frames that are left, one without frames is 0. Written without a pooling
    operator: those disagree between torch and ONNX runtimes over the last, short window.
    """
    valid = torch.ones_like(x[:1, :1]) if mask is None else mask.unsqueeze(1).to(x.dtype)
    fill = -x.shape[-1] % SEGMENT
    sums = functional.pad(x, (0, fill)).unflatten(-1, (-1, SEGMENT)).sum(dim=-1)
    counts = functional.pad(valid, (0, fill)).unflatten(-1, (-1, SEGMENT)).sum(dim=-1)
    return sums / counts.clamp(min=1)
