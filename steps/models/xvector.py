"""x-vector: a time-delay network, statistics over time, two layers for the utterance.

D. Snyder et al., "X-vectors: Robust DNN embeddings for speaker recognition", ICASSP 2018, table 1; the embedding is the
second layer's output, as in wespeaker, whose parameter names these are.

Shapes: N utterances, T frames, F mel bins, C channels, E embedding.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from steps.models.masking import frame_mask
from steps.models.pooling import StatisticsPooling

CONTEXTS = ((5, 1), (3, 2), (3, 3), (1, 1), (1, 1))  # of the five layers: frames seen, and the distance between them
MINIMUM_FRAMES = 1 + sum((width - 1) * dilation for width, dilation in CONTEXTS)


class XVector(nn.Module):
    """Features to an embedding. `channels` is the width of the layers, 512 in the paper; the last has 1500 for that."""

    def __init__(self, num_mel_bins: int, embedding_dim: int, channels: int = 512):
        super().__init__()
        self.embedding_dim = embedding_dim
        pooled = max(channels * 1500 // 512, 1)
        self.frame_1 = TimeDelay(num_mel_bins, channels, *CONTEXTS[0])
        self.frame_2 = TimeDelay(channels, channels, *CONTEXTS[1])
        self.frame_3 = TimeDelay(channels, channels, *CONTEXTS[2])
        self.frame_4 = TimeDelay(channels, channels, *CONTEXTS[3])
        self.frame_5 = TimeDelay(channels, pooled, *CONTEXTS[4])
        self.pool = StatisticsPooling()
        self.seg_1 = nn.Linear(2 * pooled, embedding_dim)
        self.seg_bn_1 = nn.BatchNorm1d(embedding_dim, affine=False)
        self.seg_2 = nn.Linear(embedding_dim, embedding_dim)

    def forward(self, features: Tensor, lengths: Tensor | None = None) -> Tensor:
        """features (N, T, F), lengths (N,) in frames or None where all are T -> embeddings (N, E).

        The layers see 15 frames without padding at the ends; a shorter utterance is repeated until it has 15.
        """
        features, lengths = repeat_short(features, lengths, MINIMUM_FRAMES)
        x = features.transpose(1, 2)  # (N, T, F) -> (N, F, T)
        # A frame of an utterance's output sees frames of that utterance only: nothing to mask before the pooling.
        for layer in (self.frame_1, self.frame_2, self.frame_3, self.frame_4, self.frame_5):
            x = layer(x)
        left = None if lengths is None else lengths - (MINIMUM_FRAMES - 1)
        x = self.seg_1(self.pool(x, frame_mask(left, x.shape[2])))
        return self.seg_2(self.seg_bn_1(functional.relu(x)))


class TimeDelay(nn.Module):
    """Dilated convolution without padding, ReLU, batch normalisation without scale and offset (Kaldi's)."""

    def __init__(self, inputs: int, outputs: int, width: int, dilation: int):
        super().__init__()
        self.conv_1d = nn.Conv1d(inputs, outputs, width, dilation=dilation)
        self.bn = nn.BatchNorm1d(outputs, affine=False)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, T) -> (N, C', T - (width - 1) * dilation)"""
        return self.bn(functional.relu(self.conv_1d(x)))


def repeat_short(features: Tensor, lengths: Tensor | None, minimum: int) -> tuple[Tensor, Tensor | None]:
    """Utterances of less than `minimum` frames, repeated from their start until they have as many.

    features (N, T, F), lengths (N,) or None -> (N, max(T, minimum), F) and the lengths, `minimum` at least. There is
    no branch on T, so that an exported graph takes every T.
    """
    given = features.shape[1]
    # max() would be decided once for every T; while torch.onnx.export(dynamo=False) traces, a size is a tensor
    enough = given.clamp(min=minimum) if torch.jit.is_tracing() else torch.sym_max(given, minimum)
    frames = torch.arange(enough, device=features.device)
    period = given if lengths is None else lengths.unsqueeze(1)
    source = frames - frames // period * period  # the remainder; torch's own has no translation to ONNX for such a T
    if lengths is None:
        return features[:, source], None
    # (N, T); what lies beyond a long utterance's end is repetition too, and padding still
    repeated = features.gather(1, source.unsqueeze(2).expand(-1, -1, features.shape[2]))
    return repeated, lengths.clamp(min=minimum)
