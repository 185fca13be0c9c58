"""DPRNN-TasNet: recurrent layers within chunks and across chunks, in turns.

Y. Luo, Z. Chen and T. Yoshioka, "Dual-path RNN: efficient long sequence modeling for time-domain single-channel
speech separation", ICASSP 2020, section 2 and figure 1. Parameter names and defaults are asteroid's (the paper's 2.6 M
parameters are those of `bn_chan` 64).
MulCat: E. Nachmani, Y. Adi and L. Wolf, "Voice separation with an unknown number of multiple speakers", ICML 2020.

Shapes: N utterances, T samples, F filters, K frames, C channels, P frames in a chunk, R chunks, S sources;
B sequences of length L.
"""

import torch
from torch import Tensor, nn

from steps.models.dual_path import DualPathEnd, DualPathTasNet, along, dual_path_norm
from steps.models.recurrent import build_rnn, outputs
from steps.models.segmentation import Segmentation
from steps.models.tasnet import build_activation, check_sizes


class DPRNNTasNet(DualPathTasNet):
    """Mixtures (N, T) -> (N, S, T).

    `bidirectional` is about the layers across chunks; those within chunks always are. `hop_size` is half of
    `chunk_size` where it is not given. `out_chan` is the masks' width where it is not `n_filters`: 1 for one mask over
    all filters. `in_chan`, which checkpoints carry, is `n_filters`. A `mask_act` of softmax is over sources (asteroid's
    is over filters). Raises ValueError for sizes that do not fit together.
    """

    def __init__(
        self,
        n_src: int,
        out_chan: int | None = None,
        bn_chan: int = 128,
        hid_size: int = 128,
        chunk_size: int = 100,
        hop_size: int | None = None,
        n_repeats: int = 6,
        norm_type: str = "gLN",
        mask_act: str = "sigmoid",
        bidirectional: bool = True,
        rnn_type: str = "LSTM",
        num_layers: int = 1,
        dropout: float = 0,
        in_chan: int | None = None,
        encoder_activation: str | None = None,
        kernel_size: int = 16,
        n_filters: int = 64,
        stride: int = 8,
        use_mulcat: bool = False,
    ):
        check_sizes(n_filters, in_chan, out_chan, kernel_size, stride)
        recurrence = {"kind": rnn_type, "layers": num_layers, "dropout": dropout, "mulcat": use_mulcat}
        blocks = [
            DPRNNBlock(bn_chan, hid_size, norm_type, bidirectional=bidirectional, **recurrence)
            for _ in range(n_repeats)
        ]
        segmentation = Segmentation(chunk_size, chunk_size // 2 if hop_size is None else hop_size)
        masker = DPRNN(n_src, n_filters, out_chan or n_filters, bn_chan, norm_type, mask_act, segmentation, blocks)
        super().__init__(masker, n_filters, kernel_size, stride, encoder_activation)


class DPRNN(DualPathEnd):
    """The masker (N, F, K) -> (N, S, `masks`, K), which is F or 1: `inputs` is F, `channels` C."""

    def __init__(
        self,
        n_src: int,
        inputs: int,
        masks: int,
        channels: int,
        norm_type: str,
        mask_act: str,
        segmentation: Segmentation,
        blocks: list["DPRNNBlock"],
    ):
        super().__init__(n_src, channels, channels, segmentation)
        self.bottleneck = nn.Sequential(dual_path_norm(norm_type, inputs), nn.Conv1d(inputs, channels, 1))
        self.net = nn.Sequential(*blocks)
        self.mask_net = nn.Conv1d(channels, masks, 1, bias=False)
        self.activation = build_activation(mask_act)

    def forward(self, frames: Tensor) -> Tensor:
        chunks = self.net(self.segmentation.cut(self.bottleneck(frames)))  # (N, C, P, R)
        masks = self.mask_net(self.gated(chunks, frames.shape[-1]))
        return self.activation(masks.unflatten(0, (-1, self.n_src)))  # (N * S, F or 1, K) -> (N, S, F or 1, K)


class DPRNNBlock(nn.Module):
    """(N, C, P, R) -> (N, C, P, R): recurrent layer, projection, norm and residual; within chunks, then across."""

    def __init__(
        self,
        channels: int,
        hidden: int,
        norm_type: str,
        bidirectional: bool,
        kind: str,
        layers: int,
        dropout: float,
        mulcat: bool,
    ):
        super().__init__()
        recurrent = MulCatRNN if mulcat else SingleRNN
        self.intra_RNN = recurrent(kind, channels, hidden, layers, dropout, bidirectional=True)
        self.intra_linear = nn.Linear(self.intra_RNN.width, channels)
        self.intra_norm = dual_path_norm(norm_type, channels)
        self.inter_RNN = recurrent(kind, channels, hidden, layers, dropout, bidirectional)
        self.inter_linear = nn.Linear(self.inter_RNN.width, channels)
        self.inter_norm = dual_path_norm(norm_type, channels)

    def forward(self, chunks: Tensor) -> Tensor:
        within = along(lambda x: self.intra_linear(self.intra_RNN(x)), chunks, within=True)
        chunks = chunks + self.intra_norm(within)
        across = along(lambda x: self.inter_linear(self.inter_RNN(x)), chunks, within=False)
        return chunks + self.inter_norm(across)


class SingleRNN(nn.Module):
    """(B, L, C) -> (B, L, `width`)"""

    def __init__(self, kind: str, inputs: int, hidden: int, layers: int, dropout: float, bidirectional: bool):
        super().__init__()
        self.width = hidden * (2 if bidirectional else 1)
        self.rnn = build_rnn(kind, inputs, hidden, layers, dropout, bidirectional)

    def forward(self, x: Tensor) -> Tensor:
        return outputs(self.rnn, x)


class MulCatRNN(nn.Module):
    """(B, L, C) -> (B, L, `width`): the product of two recurrent layers' outputs, beside their input."""

    def __init__(self, kind: str, inputs: int, hidden: int, layers: int, dropout: float, bidirectional: bool):
        super().__init__()
        self.width = hidden * (2 if bidirectional else 1) + inputs
        self.rnn1 = build_rnn(kind, inputs, hidden, layers, dropout, bidirectional)
        self.rnn2 = build_rnn(kind, inputs, hidden, layers, dropout, bidirectional)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([outputs(self.rnn1, x) * outputs(self.rnn2, x), x], dim=2)
