"""The d-vector: what an LSTM says of a stretch of speech, scaled to length 1.

L. Wan et al., "Generalized End-to-End Loss for Speaker Verification", ICASSP 2018: three layers of 768 cells whose
outputs are projected (H. Sak et al., "Long Short-Term Memory Recurrent Neural Network Architectures for Large Scale
Acoustic Modeling", Interspeech 2014). Trained on chunks of 140 to 180 frames; an utterance longer than 160 is cut into
windows of 160 that overlap by half, and the mean of their d-vectors is taken.

There a d-vector is the output of the last frame. The mean over a window's frames (as of the d-vector of E. Variani et
al., ICASSP 2014) learns from an hour of speech, where the last frame's outputs all became the same vector.

Shapes: N batch, T frames, F mel bins, W windows, H cells, E embedding.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from steps.models.masking import frame_mask, mean

LAYERS = 3
WINDOW, SHIFT = 160, 80  # frames


class DVector(nn.Module):
    """Embeddings of length 1 from three LSTM layers of `channels` cells, each projected to `embedding_dim`.

    In training an utterance goes through as it is. In evaluation the windows start every 80 frames, and the last
    one ends with the utterance; one of 160 frames or fewer, from a single frame on, is its own window.
    `last_frame`: its output alone, as Wan et al. have it, otherwise the mean over the window's frames.
    Raises ValueError where the projection would not be narrower than the layer.
    """

    def __init__(self, num_mel_bins: int, embedding_dim: int, channels: int = 768, last_frame: bool = True):
        super().__init__()
        self.last_frame = last_frame
        if embedding_dim >= channels:
            raise ValueError(
                f"model.embedding_dim ({embedding_dim}) of a d-vector is a projection of the LSTM's cells and must be "
                f"less than their number, model.channels ({channels}; 768 where that is 0)"
            )
        self.embedding_dim = embedding_dim
        self.lstm = ProjectedLstm(num_mel_bins, channels, LAYERS, batch_first=True, proj_size=embedding_dim)

    def forward(self, features: Tensor, lengths: Tensor | None = None) -> Tensor:
        """features (N, T, F), lengths (N,) in frames or None where all have T -> embeddings (N, E)."""
        if self.training:
            return self.of_window(features, lengths)
        windows, lengths, valid = cut_windows(features, lengths)
        each = self.of_window(windows.flatten(0, 1), lengths).unflatten(0, (-1, windows.shape[1]))
        average = mean(each.transpose(1, 2), valid).squeeze(-1)  # (N, W, E) -> (N, E, W) -> (N, E)
        return functional.normalize(average, dim=1)

    def of_window(self, features: Tensor, lengths: Tensor | None) -> Tensor:
        """features (N, T, F), lengths (N,) or None -> (N, E), of length 1: each a window's last output, or its mean."""
        outputs = self.lstm(features)
        if not self.last_frame:
            average = mean(outputs.transpose(1, 2), frame_mask(lengths, outputs.shape[1]))  # (N, T, E) -> (N, E, 1)
            return functional.normalize(average.squeeze(-1), dim=1)
        if lengths is None:
            return functional.normalize(outputs[:, -1], dim=1)
        return functional.normalize(outputs[torch.arange(len(outputs), device=outputs.device), lengths - 1], dim=1)


def cut_windows(features: Tensor, lengths: Tensor | None) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """features (N, T, F), lengths (N,) or None -> windows (N, W, at most 160, F), their lengths (N * W,), valid (N, W).

    The latter two are None where `lengths` is. W is that of the longest utterance, `valid` is true for an utterance's
    own windows. Slices of `arange` stand for min and max, which an exported graph would decide once for every T.
    """
    positions = torch.arange(features.shape[1], device=features.device)
    further = positions[WINDOW::SHIFT] - SHIFT  # where T leaves frames after the window before
    starts = torch.cat([positions[:1], further])  # (W,)
    span = positions[:WINDOW]
    if lengths is None:
        starts = starts.clamp(max=features.shape[1] - WINDOW).clamp(min=0)
        return features[:, starts.unsqueeze(1) + span], None, None
    own = lengths.unsqueeze(1)
    valid = (starts == 0) | (starts + SHIFT < own)
    starts = starts.minimum(own - WINDOW).clamp(min=0)  # (N, W)
    utterance = torch.arange(len(features), device=features.device).view(-1, 1, 1)
    windows = features[utterance, starts.unsqueeze(2) + span]
    return windows, own.clamp(max=WINDOW).expand_as(valid).flatten(), valid


class ProjectedLstm(nn.LSTM):
    """nn.LSTM with `batch_first` and `proj_size` that can also be exported.

    ONNX has no projected LSTM. But a recurrence through the projected output, W_h (P m), is one through the cells'
    output m with the matrix W_h P: an ordinary LSTM followed by the projection P.
    """

    def forward(self, x: Tensor) -> Tensor:
        """x (N, T, F) -> outputs (N, T, E), starting from zeros."""
        if not torch.onnx.is_in_onnx_export():
            return super().forward(x)[0]
        x = x.transpose(0, 1)  # (N, T, F) -> (T, N, F)
        for inputs, recurrent, input_bias, recurrent_bias, projection in self.all_weights:
            weights = inputs, recurrent @ projection, input_bias, recurrent_bias
            x = _exported_layer(x, weights, self.hidden_size) @ projection.T
        return x.transpose(0, 1)


def _exported_layer(x: Tensor, weights: tuple[Tensor, Tensor, Tensor, Tensor], cells: int) -> Tensor:
    """x (T, N, C) -> (T, N, H) by one LSTM operator, in whichever way the exporter at work understands."""
    if torch.jit.is_tracing():  # torch.onnx.export(dynamo=False)
        start = x.new_zeros(1, x.shape[1], cells)
        return torch.lstm(x, (start, start), weights, True, 1, 0.0, False, False, False)[0]
    inputs, recurrent, input_bias, recurrent_bias = (_onnx_gates(weight) for weight in weights)
    biases = torch.cat([input_bias, recurrent_bias])
    operands = x, *(weight.unsqueeze(0) for weight in (inputs, recurrent, biases))  # 1 direction
    shape = x.shape[0], 1, x.shape[1], cells
    return torch.onnx.ops.symbolic("LSTM", operands, {"hidden_size": cells}, dtype=x.dtype, shape=shape).squeeze(1)


def _onnx_gates(weight: Tensor) -> Tensor:
    """Rows of gates in torch's order (input, forget, cell, output) -> in ONNX's (input, output, forget, cell)."""
    entry, forget, cell, output = weight.chunk(4)
    return torch.cat([entry, output, forget, cell])
