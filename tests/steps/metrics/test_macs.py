"""Multiply-accumulates against closed forms."""

import pytest
import torch
from torch import Tensor, nn

from steps.metrics.macs import macs

N, T = 2, 37


class Called(nn.Module):
    """A layer that gives several things back, as a model that gives one."""

    def __init__(self, layer: nn.Module, times: int):
        super().__init__()
        self.layer, self.times = layer, times

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(*[x] * self.times)[0]


@pytest.mark.parametrize(
    ("layer", "channels", "expected"),
    [
        (nn.Conv1d(6, 10, 5), 6, N * 33 * 5 * 6 * 10),
        (nn.Conv1d(6, 10, 5, stride=4, padding=2), 6, N * 10 * 5 * 6 * 10),
        (nn.Conv1d(6, 6, 3, padding=2, dilation=2, groups=6), 6, N * T * 3 * 6),
        (nn.Conv1d(6, 10, 3, padding=1, groups=2), 6, N * T * 3 * 3 * 10),
        (nn.ConvTranspose1d(6, 10, 8, stride=4), 6, N * T * 8 * 6 * 10),  # T, not the 152 frames that come out
        (nn.ConvTranspose1d(6, 6, 8, stride=4, groups=6), 6, N * T * 8 * 6),
    ],
    ids=["conv", "strided", "depthwise", "grouped", "transposed", "transposed depthwise"],
)
def test_convolutions(layer, channels, expected):
    assert macs(layer, [torch.randn(N, channels, T)]) == expected


def test_conv2d():
    layer = nn.Conv2d(3, 8, (5, 2), stride=(2, 1), padding=(2, 0))
    assert macs(layer, [torch.randn(N, 3, 20, 11)]) == N * 10 * 10 * 5 * 2 * 3 * 8


def test_linear_on_any_axes():
    assert macs(nn.Linear(6, 10), [torch.randn(N, 4, T, 6)]) == N * 4 * T * 6 * 10
    assert macs(nn.Linear(6, 10, bias=False), [torch.randn(T, 6)]) == T * 6 * 10


@pytest.mark.parametrize("onednn", [True, False])
@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.filterwarnings("ignore:TF32")
def test_recurrent_layers(onednn, batch_first):
    """4 gates of an LSTM, 3 of a GRU, each of inputs and cells; two directions feed the second layer."""
    shape = (N, T, 6) if batch_first else (T, N, 6)
    both = {"num_layers": 2, "bidirectional": True, "batch_first": batch_first}
    with torch.backends.mkldnn.flags(enabled=onednn):
        lstm = macs(Called(nn.LSTM(6, 5, **both), 1), [torch.randn(shape)])
        gru = macs(Called(nn.GRU(6, 5, batch_first=batch_first), 1), [torch.randn(shape)])
    assert lstm == N * T * 2 * 4 * 5 * ((6 + 5) + (10 + 5))
    assert gru == N * T * 3 * 5 * (6 + 5)


def test_attention():
    """Projections of queries, keys, values and output, and two products of all frames with all frames."""
    layer = Called(nn.MultiheadAttention(8, 2, batch_first=True), 3)
    assert macs(layer, [torch.randn(N, T, 8)]) == N * (4 * T * 8 * 8 + 2 * T * T * 8)


def test_the_model_stays_as_it_is():
    model = nn.Sequential(nn.Conv1d(2, 2, 1), nn.BatchNorm1d(2), nn.ReLU())
    before = {name: value.clone() for name, value in model.state_dict().items()}
    fast = torch.backends.mha.get_fastpath_enabled()
    assert macs(model, [torch.randn(N, 2, T)]) == N * T * 2 * 2
    assert model.training and torch.backends.mha.get_fastpath_enabled() == fast
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name
