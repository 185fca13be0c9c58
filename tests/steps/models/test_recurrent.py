"""Recurrent layers: what a graph computes is what torch computes, at any length."""

import pytest
import torch
from torch import Tensor, nn

from steps.export.graph import agreement, export_graph
from steps.models.recurrent import build_rnn, outputs


class Outputs(nn.Module):
    def __init__(self, *args):
        super().__init__()
        self.rnn = build_rnn(*args)

    def forward(self, x: Tensor) -> Tensor:
        return outputs(self.rnn, x)


@pytest.mark.parametrize(("kind", "layers", "both_ways"), [("RNN", 1, True), ("LSTM", 2, False), ("gru", 2, True)])
def test_a_graph_agrees_at_any_length(kind, layers, both_ways, tmp_path):
    torch.manual_seed(0)
    model = Outputs(kind, 3, 4, layers, 0.1, both_ways).eval()
    axes = {"x": {0: "B", 1: "L"}}
    export_graph(model, tmp_path / "g.onnx", {"x": torch.randn(2, 5, 3)}, ["y"], axes, {})
    cases = [{"x": torch.randn(b, length, 3)} for b, length in [(1, 1), (3, 2), (1, 5), (2, 31)]]
    assert agreement(model, tmp_path / "g.onnx", cases).relative < 1e-5


def test_outputs_of_an_lstm_are_torch_s():
    torch.manual_seed(0)
    rnn = build_rnn("LSTM", 3, 4, 2, 0.5, True).eval()
    reference = nn.LSTM(3, 4, 2, batch_first=True, bidirectional=True).eval()
    reference.load_state_dict(rnn.state_dict())
    x = torch.randn(2, 7, 3)
    assert torch.equal(outputs(rnn, x), reference(x)[0])
    assert rnn.dropout == 0.5
    assert build_rnn("LSTM", 3, 4, 1, 0.5, True).dropout == 0  # torch warns of dropout after the only layer


def test_other_kinds_are_refused():
    with pytest.raises(ValueError, match=r"model\.sizes\.rnn_type: one of RNN, LSTM, GRU; got 'SRU'"):
        build_rnn("SRU", 3, 4, 1, 0, True)
