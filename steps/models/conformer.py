"""Conformer encoder with a CTC output layer.

A. Gulati et al., "Conformer: Convolution-augmented Transformer for Speech Recognition", Interspeech 2020;
relative positions as in Z. Dai et al., "Transformer-XL", ACL 2019, section 3.3. Where the paper has batch
normalisation in the convolution module this has layer normalisation, so that an utterance's output does
not depend on the batch it is in, neither in training nor through running statistics.

Shapes: N batch, T frames of features, S frames after subsampling by 4, F mel bins, D model, H heads, V tokens.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from steps.models.config import ConformerConfig


def subsampled_length(frames: int) -> int:
    """Frames that the encoder gives for `frames` frames of features: two 3-wide, stride-2 convolutions."""
    return max(((frames - 1) // 2 - 1) // 2, 0)


class ConformerCtc(nn.Module):
    """Features to log-probabilities of CTC labels (0 is blank)."""

    def __init__(self, config: ConformerConfig, num_mel_bins: int, num_tokens: int):
        super().__init__()
        self.config = config
        # Of the training data, so that the network meets numbers around 0; see `set_statistics`.
        self.register_buffer("feature_mean", torch.zeros(num_mel_bins))
        self.register_buffer("feature_std", torch.ones(num_mel_bins))
        self.subsampling = Subsampling(num_mel_bins, config.subsampling_channels, config.dim)
        self.dropout = nn.Dropout(config.dropout)
        self.layers = nn.ModuleList(ConformerLayer(config) for _ in range(config.layers))
        self.output = nn.Linear(config.dim, num_tokens)

    def set_statistics(self, mean: Tensor, std: Tensor) -> None:
        """Mean and standard deviation (F,) of each mel bin over the training data."""
        self.feature_mean.copy_(mean)
        self.feature_std.copy_(std.clamp(min=1e-3))

    def forward(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """features (N, T, F), lengths (N,) in frames -> log-probabilities (N, S, V), lengths (N,).

        Frames beyond an utterance's length do not influence its output. Utterances need 7 frames at least.
        """
        features = (features - self.feature_mean) / self.feature_std
        x = self.dropout(self.subsampling(features))  # (N, S, D)
        lengths = torch.clamp(((lengths - 1) // 2 - 1) // 2, min=0)
        valid = torch.arange(x.shape[1], device=x.device) < lengths.unsqueeze(1)  # (N, S)
        positions = relative_positions(x.shape[1], self.config.dim, x.device, x.dtype)
        for layer in self.layers:
            x = layer(x, positions, valid)
        return functional.log_softmax(self.output(x).float(), dim=-1), lengths


class Subsampling(nn.Module):
    """Two strided convolutions over time and frequency; a quarter of the frame rate."""

    def __init__(self, num_mel_bins: int, channels: int, dim: int):
        super().__init__()
        self.first = nn.Conv2d(1, channels, 3, stride=2)
        self.second = nn.Conv2d(channels, channels, 3, stride=2)
        self.project = nn.Linear(channels * subsampled_length(num_mel_bins), dim)
        self.norm = nn.LayerNorm(dim)

    def forward(self, features: Tensor) -> Tensor:
        """(N, T, F) -> (N, S, D)"""
        x = functional.silu(self.first(features.unsqueeze(1)))
        x = functional.silu(self.second(x))  # (N, C, S, F')
        x = x.permute(0, 2, 1, 3).flatten(2)  # (N, C, S, F') -> (N, S, C * F')
        return self.norm(self.project(x))


class ConformerLayer(nn.Module):
    """Half feed-forward, self-attention, convolution, half feed-forward, each residual; then a norm."""

    def __init__(self, config: ConformerConfig):
        super().__init__()
        self.layer_drop = config.layer_drop
        self.feedforward1 = FeedForward(config.dim, config.feedforward_dim, config.dropout)
        self.attention = RelativeAttention(config.dim, config.heads, config.dropout)
        self.convolution = ConvolutionModule(config.dim, config.kernel, config.dropout)
        self.feedforward2 = FeedForward(config.dim, config.feedforward_dim, config.dropout)
        self.norm = nn.LayerNorm(config.dim)

    def forward(self, x: Tensor, positions: Tensor, valid: Tensor) -> Tensor:
        """x (N, S, D), positions (2S - 1, D), valid (N, S) -> (N, S, D)"""
        if self.training and self.layer_drop > 0 and torch.rand(()) < self.layer_drop:
            return x
        x = x + 0.5 * self.feedforward1(x)
        x = x + self.attention(x, positions, valid)
        x = x + self.convolution(x, valid)
        x = x + 0.5 * self.feedforward2(x)
        return self.norm(x)


class FeedForward(nn.Sequential):
    """(N, S, D) -> (N, S, D)"""

    def __init__(self, dim: int, hidden: int, dropout: float):
        super().__init__(
            nn.LayerNorm(dim),
            nn.Linear(dim, hidden),
            nn.SiLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, dim),
            nn.Dropout(dropout),
        )


class ConvolutionModule(nn.Module):
    """Pointwise with gate, depthwise over time, norm, pointwise."""

    def __init__(self, dim: int, kernel: int, dropout: float):
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.expand = nn.Linear(dim, 2 * dim)
        self.depthwise = nn.Conv1d(dim, dim, kernel, padding=kernel // 2, groups=dim)
        self.depthwise_norm = nn.LayerNorm(dim)
        self.project = nn.Linear(dim, dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, valid: Tensor) -> Tensor:
        """x (N, S, D), valid (N, S) -> (N, S, D)"""
        x = functional.glu(self.expand(self.norm(x)), dim=-1)
        x = x.masked_fill(~valid.unsqueeze(-1), 0.0)  # padding must look like the end of the utterance
        x = self.depthwise(x.transpose(1, 2)).transpose(1, 2)  # (N, S, D) -> (N, D, S) -> (N, S, D)
        x = functional.silu(self.depthwise_norm(x))
        return self.dropout(self.project(x))


class RelativeAttention(nn.Module):
    """Multi-head self-attention whose scores depend on content and on relative position."""

    def __init__(self, dim: int, heads: int, dropout: float):
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(dim)
        self.query_key_value = nn.Linear(dim, 3 * dim)
        self.position = nn.Linear(dim, dim, bias=False)
        self.content_bias = nn.Parameter(torch.zeros(heads, dim // heads))  # u of Transformer-XL
        self.position_bias = nn.Parameter(torch.zeros(heads, dim // heads))  # v of Transformer-XL
        self.output = nn.Linear(dim, dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, positions: Tensor, valid: Tensor) -> Tensor:
        """x (N, S, D), positions (2S - 1, D), valid (N, S) -> (N, S, D)"""
        n, s, d = x.shape
        query, key, value = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2)  # (N, S, D) -> (N, H, S, D / H)
            for part in self.query_key_value(self.norm(x)).chunk(3, dim=-1)
        )
        position = self.position(positions).unflatten(-1, (self.heads, -1)).transpose(0, 1)  # (H, 2S - 1, D / H)
        scale = 1.0 / math.sqrt(d // self.heads)
        by_position = (query + self.position_bias.unsqueeze(1)) @ position.transpose(-1, -2)  # (N, H, S, 2S - 1)
        bias = relative_shift(by_position) * scale
        bias = bias.masked_fill(~valid[:, None, None, :], torch.finfo(bias.dtype).min)
        attended = functional.scaled_dot_product_attention(
            query + self.content_bias.unsqueeze(1), key, value, attn_mask=bias, scale=scale
        )
        return self.dropout(self.output(attended.transpose(1, 2).reshape(n, s, d)))


def relative_positions(length: int, dim: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Sinusoids of the distances length - 1 ... -(length - 1) -> (2 * length - 1, dim)."""
    distance = torch.arange(length - 1, -length, -1, device=device, dtype=torch.float32)
    rate = torch.exp(torch.arange(0, dim, 2, device=device, dtype=torch.float32) * (-math.log(10000.0) / dim))
    angle = distance.unsqueeze(1) * rate
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1)[:, :dim].to(dtype)


def relative_shift(scores: Tensor) -> Tensor:
    """(N, H, S, 2S - 1), last axis over distances S - 1 ... -(S - 1) -> (N, H, S, S), [i, j] at distance i - j."""
    n, h, s, _ = scores.shape
    padded = functional.pad(scores, (1, 0))  # (N, H, S, 2S)
    return padded.view(n, h, 2 * s, s)[:, :, 1:].reshape(n, h, s, 2 * s - 1)[..., :s]
