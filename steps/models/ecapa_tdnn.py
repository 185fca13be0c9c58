"""ECAPA-TDNN: Res2 blocks with squeeze and excitation, whose outputs are pooled together by attention.

B. Desplanques et al., "ECAPA-TDNN: Emphasized channel attention, propagation and aggregation in TDNN based
speaker verification", Interspeech 2020, figures 1 and 2. Parameter names are wespeaker's; as there, a block's input is
its predecessor's output, where the paper (section 2.3) sums those of all before it, and the embedding is not
normalised.

Shapes: N utterances, T frames, F mel bins, C channels, E embedding.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from steps.models.masking import frame_mask, mean, silence_padding
from steps.models.pooling import AttentiveStatisticsPooling

SCALE = 8  # parts of the channels in a Res2 layer
BOTTLENECK = 128  # of squeeze and excitation
POOLED = 1536  # channels that the attention pools


class EcapaTdnn(nn.Module):
    """Features to an embedding. `channels` is 512 or 1024 in the paper.

    Narrower ones for small machines pool 3 * `channels` instead of 1536. Raises ValueError unless `channels` is
    a multiple of 8. `global_context`: the attention sees the utterance's mean and deviation.
    """

    def __init__(self, num_mel_bins: int, embedding_dim: int, channels: int = 512, global_context: bool = True):
        super().__init__()
        if channels % SCALE:
            raise ValueError(f"model.channels must be a multiple of {SCALE} for ecapa_tdnn; got {channels}")
        self.embedding_dim = embedding_dim
        pooled = min(3 * channels, POOLED)
        self.layer1 = ConvReluNorm(num_mel_bins, channels, width=5)
        self.layer2 = SeRes2Block(channels, dilation=2)
        self.layer3 = SeRes2Block(channels, dilation=3)
        self.layer4 = SeRes2Block(channels, dilation=4)
        self.conv = nn.Conv1d(3 * channels, pooled, 1)
        self.pool = AttentiveStatisticsPooling(pooled, global_context=global_context)
        self.bn = nn.BatchNorm1d(2 * pooled)
        self.linear = nn.Linear(2 * pooled, embedding_dim)

    def forward(self, features: Tensor, lengths: Tensor | None = None) -> Tensor:
        """features (N, T, F), lengths (N,) in frames or None where all are T -> embeddings (N, E). T from 1 on."""
        mask = frame_mask(lengths, features.shape[1])
        x = features.transpose(1, 2)  # (N, T, F) -> (N, F, T)
        first = self.layer1(silence_padding(x, mask))
        second = self.layer2(first, mask)
        third = self.layer3(second, mask)
        fourth = self.layer4(third, mask)
        x = functional.relu(self.conv(torch.cat([second, third, fourth], dim=1)))
        return self.linear(self.bn(self.pool(x, mask)))


class ConvReluNorm(nn.Module):
    """Convolution that keeps the length, ReLU, batch normalisation."""

    def __init__(self, inputs: int, outputs: int, width: int = 1):
        super().__init__()
        self.conv = nn.Conv1d(inputs, outputs, width, padding=width // 2)
        self.bn = nn.BatchNorm1d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, T) -> (N, C', T)"""
        return self.bn(functional.relu(self.conv(x)))


class SeRes2Block(nn.Module):
    """The paper's figure 1: in, Res2 layer, out, squeeze and excitation, with a residual around them."""

    def __init__(self, channels: int, dilation: int):
        super().__init__()
        self.se_res2block = nn.ModuleList(
            [
                ConvReluNorm(channels, channels),
                Res2Layer(channels, dilation),
                ConvReluNorm(channels, channels),
                SqueezeExcitation(channels),
            ]
        )

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """x (N, C, T), mask (N, T) or None -> (N, C, T)"""
        widen, res2, mix, gate = self.se_res2block
        return x + gate(mix(res2(widen(x), mask)), mask)


class Res2Layer(nn.Module):
    """The channels in 8 parts: a 3-wide dilated convolution for each but the last, which passes; each part from the
    second on adds the result before it to its input (S. Gao et al., "Res2Net", 2019, where the first part passes)."""

    def __init__(self, channels: int, dilation: int):
        super().__init__()
        width = channels // SCALE
        self.convs = nn.ModuleList(
            nn.Conv1d(width, width, 3, padding=dilation, dilation=dilation) for _ in range(SCALE - 1)
        )
        self.bns = nn.ModuleList(nn.BatchNorm1d(width) for _ in range(SCALE - 1))

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """x (N, C, T), mask (N, T) or None -> (N, C, T)"""
        *parts, last = x.chunk(SCALE, dim=1)
        results: list[Tensor] = []
        for part, conv, bn in zip(parts, self.convs, self.bns, strict=True):
            part = silence_padding(part + results[-1] if results else part, mask)
            results.append(bn(functional.relu(conv(part))))
        return torch.cat([*results, last], dim=1)


class SqueezeExcitation(nn.Module):
    """Scales each channel by what the means of all channels over the utterance say."""

    def __init__(self, channels: int):
        super().__init__()
        self.linear1 = nn.Linear(channels, BOTTLENECK)
        self.linear2 = nn.Linear(BOTTLENECK, channels)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """x (N, C, T), mask (N, T) or None -> (N, C, T)"""
        squeezed = functional.relu(self.linear1(mean(x, mask).squeeze(2)))
        return x * self.linear2(squeezed).sigmoid().unsqueeze(2)
