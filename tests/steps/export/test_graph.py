"""A module with two inputs and two outputs, as a file that says so and computes the same."""

import math

import onnx
import pytest
import torch
from torch import Tensor, nn

from steps.export.graph import agreement, export_graph, open_graph


class SumAndScaled(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor([1.0, -2.0, 0.5]))

    def forward(self, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        """(N, T, 3), (N, 3) -> (N, 3), (N, T, 3)"""
        return a.sum(dim=1) + b, a * self.scale


def case(count: int, frames: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(frames)
    return {"a": torch.randn(count, frames, 3, generator=generator), "b": torch.randn(count, 3, generator=generator)}


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    model, file = SumAndScaled().eval(), tmp_path_factory.mktemp("graph") / "model.onnx"
    axes = {"a": {0: "N", 1: "T"}, "b": {0: "N"}}
    export_graph(model, file, case(2, 5), ["sum", "scaled"], axes, {"language": "中文", "answer": "42"})
    return model, file


def test_borders_and_metadata(exported):
    session = open_graph(exported[1])
    assert {border.name: border.shape for border in session.get_inputs()} == {"a": ["N", "T", 3], "b": ["N", 3]}
    assert {border.name: border.shape for border in session.get_outputs()} == {"sum": ["N", 3], "scaled": ["N", "T", 3]}
    assert session.get_modelmeta().custom_metadata_map == {"language": "中文", "answer": "42"}


def test_nothing_of_this_machine_is_in_the_file(exported, root):
    assert str(root).encode() not in exported[1].read_bytes()
    assert onnx.load(exported[1]).graph.value_info == []


def test_agreement(exported):
    model, file = exported
    cases = [case(1, 1), case(3, 7), case(2, 100)]
    found = agreement(model, file, cases)
    assert found.holds()
    assert found.cosine == pytest.approx(1.0, abs=1e-12)
    assert found.relative < 1e-6

    other = SumAndScaled().eval()
    other.scale = nn.Parameter(torch.tensor([1.0, -2.0, 0.6]))
    found = agreement(other, file, [case(1, 1)])
    a = case(1, 1)["a"][0, 0].double()
    ours, theirs = a * torch.tensor([1.0, -2.0, 0.6]), a * torch.tensor([1.0, -2.0, 0.5])
    assert found.cosine == pytest.approx(float(nn.functional.cosine_similarity(ours, theirs, dim=0)), abs=1e-6)
    assert found.relative == pytest.approx(float((ours - theirs).abs().max() / ours.abs().max()), abs=1e-6)
    assert not found.holds()


def test_what_is_not_finite_does_not_agree(exported):
    model, file = exported
    bad = case(1, 4)
    bad["a"][0, 2, 1] = math.nan
    for cases in ([case(1, 4), bad], [bad, case(1, 4)]):
        assert not agreement(model, file, cases).holds()


def test_only_the_model_as_it_is_used_is_exported(tmp_path):
    with pytest.raises(AssertionError, match="dropout"):
        export_graph(SumAndScaled(), tmp_path / "m.onnx", case(2, 5), ["sum", "scaled"], {}, {})
