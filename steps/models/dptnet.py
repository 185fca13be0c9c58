"""DPTNet: transformer layers within chunks and across chunks, where an LSTM knows the order of frames.

J. Chen, Q. Mao and D. Liu, "Dual-path transformer network: direct context-aware modeling for end-to-end monaural
speech separation", Interspeech 2020, section 2. Parameter names and defaults are
asteroid's.

Shapes: N utterances, T samples, F filters, K frames, C channels, P frames in a chunk, R chunks, S sources;
B sequences of length L.
"""

from torch import Tensor, nn

from steps.models.dual_path import DualPathEnd, DualPathTasNet, along, dual_path_norm
from steps.models.recurrent import outputs
from steps.models.segmentation import Segmentation
from steps.models.tasnet import build_activation, check_sizes


class DPTNet(DualPathTasNet):
    """Mixtures (N, T) -> (N, S, T).

    `bidirectional` is about the LSTM across chunks; the one within chunks always is. `hop_size` is half of `chunk_size`
    where it is not given. A linear layer widens the frames where `n_filters` is not a multiple of `n_heads`. `in_chan`,
    which checkpoints carry, is `n_filters`. Raises ValueError for sizes that do not fit together.
    """

    def __init__(
        self,
        n_src: int,
        n_heads: int = 4,
        ff_hid: int = 256,
        chunk_size: int = 100,
        hop_size: int | None = None,
        n_repeats: int = 6,
        norm_type: str = "gLN",
        ff_activation: str = "relu",
        encoder_activation: str | None = "relu",
        mask_act: str = "relu",
        bidirectional: bool = True,
        dropout: float = 0,
        in_chan: int | None = None,
        kernel_size: int = 16,
        n_filters: int = 64,
        stride: int = 8,
    ):
        check_sizes(n_filters, in_chan, None, kernel_size, stride)
        if n_heads < 1:
            raise ValueError(f"model.sizes.n_heads: 1 or more; got {n_heads}")
        channels = -(-n_filters // n_heads) * n_heads
        sizes = {"channels": channels, "heads": n_heads, "hidden": ff_hid, "dropout": dropout}
        kinds = {"activation": ff_activation, "norm_type": norm_type}
        pairs = [
            nn.ModuleList(ImprovedTransformer(bidirectional=both, **sizes, **kinds) for both in (True, bidirectional))
            for _ in range(n_repeats)
        ]
        segmentation = Segmentation(chunk_size, chunk_size // 2 if hop_size is None else hop_size)
        masker = DPTransformer(n_src, n_filters, channels, norm_type, mask_act, segmentation, pairs)
        super().__init__(masker, n_filters, kernel_size, stride, encoder_activation)


class DPTransformer(DualPathEnd):
    """The masker (N, F, K) -> (N, S, F, K): `inputs` is F, `channels` C, `pairs` layers within and across chunks."""

    def __init__(
        self,
        n_src: int,
        inputs: int,
        channels: int,
        norm_type: str,
        mask_act: str,
        segmentation: Segmentation,
        pairs: list[nn.ModuleList],
    ):
        super().__init__(n_src, channels, inputs, segmentation)
        self.input_layer = nn.Linear(inputs, channels) if channels != inputs else None
        self.in_norm = dual_path_norm(norm_type, channels)
        self.layers = nn.ModuleList(pairs)
        self.activation = build_activation(mask_act)

    def forward(self, frames: Tensor) -> Tensor:
        """(N, F, K) -> (N, S, F, K)"""
        x = frames
        if self.input_layer is not None:
            x = self.input_layer(x.transpose(1, 2)).transpose(1, 2)  # (N, F, K) -> (N, C, K)
        chunks = self.segmentation.cut(self.in_norm(x))  # (N, C, P, R)
        for intra, inter in self.layers:
            chunks = along(inter, along(intra, chunks, within=True), within=False)
        share = self.segmentation.hop / self.segmentation.chunk  # the mean of overlapping chunks, not their sum
        masks = self.gated(chunks, frames.shape[-1], scale=share)
        return self.activation(masks.unflatten(0, (-1, self.n_src)))  # (N * S, F, K) -> (N, S, F, K)


class ImprovedTransformer(nn.Module):
    """(B, L, C) -> (B, L, C): self-attention, then LSTM (for the first linear layer of a transformer), activation and
    projection; a residual and a norm after both.

    Norms are over one sequence (all of its C x L values for gLN).
    """

    def __init__(
        self,
        channels: int,
        heads: int,
        hidden: int,
        dropout: float,
        activation: str,
        bidirectional: bool,
        norm_type: str,
    ):
        super().__init__()
        self.mha = nn.MultiheadAttention(channels, heads, dropout=dropout, batch_first=True)
        self.dropout = nn.Dropout(dropout)
        self.recurrent = nn.LSTM(channels, hidden, batch_first=True, bidirectional=bidirectional)
        self.linear = nn.Linear(hidden * (2 if bidirectional else 1), channels)
        self.activation = build_activation(activation)
        self.norm_mha = dual_path_norm(norm_type, channels)
        self.norm_ff = dual_path_norm(norm_type, channels)

    def forward(self, x: Tensor) -> Tensor:
        attended = self.mha(x, x, x, need_weights=False)[0]
        x = normalised(self.norm_mha, x + self.dropout(attended))
        hidden = self.dropout(self.activation(outputs(self.recurrent, x)))
        return normalised(self.norm_ff, x + self.dropout(self.linear(hidden)))


def normalised(norm: nn.Module, x: Tensor) -> Tensor:
    """(B, L, C) -> (B, L, C), by a norm of (B, C, L)."""
    return norm(x.transpose(1, 2)).transpose(1, 2)
