"""The multiply-accumulates of a model, by running it once and looking at the sizes of what is multiplied."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

Shape = Sequence[int]


def macs(model: nn.Module, inputs: Sequence[Tensor]) -> int:
    """Multiply-accumulates of one call of `model` (on the CPU) on `inputs`, in evaluation mode.

    Counts convolutions (transposed ones by the length of their input, as they are computed), matrix products,
    attention and recurrent layers. What is done element by element (norms, activations, windows) and FFTs do not count.
    """
    counter = FlopCounterMode(display=False, custom_mapping={torch.ops.aten.mkldnn_rnn_layer: _recurrent_flops})
    training, fast = model.training, torch.backends.mha.get_fastpath_enabled()
    try:
        # Attention in one kernel is unknown to the counter; in its plain form it is matrix products.
        torch.backends.mha.set_fastpath_enabled(False)
        with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), counter:
            model.eval()(*inputs)
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        model.train(training)
    return counter.get_total_flops() // 2


def _recurrent_flops(x: Shape, weight_ih: Shape, weight_hh: Shape, *_: Any, **__: Any) -> int:
    """Of one direction of one LSTM layer where oneDNN computes it; torch's own is matrix products, counted as such.

    x is (T, N, inputs), the weights (4 * cells, inputs) and (4 * cells, cells).
    """
    return 2 * x[0] * x[1] * (math.prod(weight_ih) + math.prod(weight_hh))
