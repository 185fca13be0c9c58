"""Recurrent layers, built by name, that export to ONNX with any number and length of sequences.

torch's exporter takes a recurrent layer apart into its steps, as many as the example has. ONNX has the layer whole.

Shapes: B sequences, L steps, C channels, H cells, D directions (1 or 2).
"""

import torch
from torch import Tensor, nn

RNNS = {"RNN": nn.RNN, "LSTM": nn.LSTM, "GRU": nn.GRU}
GATES = {  # where ONNX's gates are among torch's
    "RNN": (0,),
    "LSTM": (0, 3, 1, 2),  # of input, forget, cell, output: input, output, forget, cell
    "GRU": (1, 0, 2),  # of reset, update, new: update, reset, new
}


def build_rnn(kind: str, channels: int, cells: int, layers: int, dropout: float, bidirectional: bool) -> nn.RNNBase:
    """torch's RNN, LSTM or GRU (upper or lower case), batch first. `dropout` is between layers.

    Raises ValueError for another kind.
    """
    if kind.upper() not in RNNS:
        raise ValueError(f"model.sizes.rnn_type: one of {', '.join(RNNS)}; got '{kind}'")
    between = dropout if layers > 1 else 0.0
    chosen = RNNS[kind.upper()]
    return chosen(channels, cells, layers, batch_first=True, dropout=between, bidirectional=bidirectional)


def outputs(rnn: nn.RNNBase, x: Tensor) -> Tensor:
    """x (B, L, C) -> (B, L, D * H), by an RNN (of tanh), LSTM or GRU that is batch first, starting from zeros."""
    if not torch.onnx.is_in_onnx_export() or torch.jit.is_tracing():
        return rnn(x)[0]
    assert rnn.batch_first and rnn.bias and not rnn.proj_size, "the layers that build_rnn gives"
    directions = 1 + rnn.bidirectional
    x = x.transpose(0, 1)  # (B, L, C) -> (L, B, C)
    for layer in range(rnn.num_layers):
        x = _exported_layer(rnn, rnn.all_weights[directions * layer : directions * (layer + 1)], x)
    return x.transpose(0, 1)


def _exported_layer(rnn: nn.RNNBase, weights: list[list[Tensor]], x: Tensor) -> Tensor:
    """x (L, B, C) -> (L, B, D * H) by one operator; `weights` are torch's four of each direction."""
    kind = rnn.mode.split("_")[0]
    inputs, recurrent, biases = zip(*(_of_direction(kind, *each) for each in weights), strict=True)
    attributes = {"hidden_size": rnn.hidden_size, "direction": "bidirectional" if rnn.bidirectional else "forward"}
    if kind == "GRU":
        attributes["linear_before_reset"] = 1  # torch's kind, which is cuDNN's
    operands = x, torch.stack(inputs), torch.stack(recurrent), torch.stack(biases)
    shape = x.shape[0], len(weights), x.shape[1], rnn.hidden_size
    y = torch.onnx.ops.symbolic(kind, operands, attributes, dtype=x.dtype, shape=shape)
    return y.transpose(1, 2).flatten(2)  # (L, D, B, H) -> (L, B, D * H)


def _of_direction(
    kind: str, inputs: Tensor, recurrent: Tensor, input_bias: Tensor, recurrent_bias: Tensor
) -> list[Tensor]:
    """Torch's weights of a direction in ONNX's order of gates, both biases (each of all gates) in one."""
    inputs, recurrent, first, second = (
        torch.cat([weight.chunk(len(GATES[kind]))[gate] for gate in GATES[kind]])
        for weight in (inputs, recurrent, input_bias, recurrent_bias)
    )
    return [inputs, recurrent, torch.cat([first, second])]
