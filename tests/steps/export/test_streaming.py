"""The streaming graph against the network over whole files, by the loop that its description asks of a host."""

import numpy as np
import pytest
import torch

from steps.export.streaming import StreamingGraph, export_streaming_demucs
from steps.models.demucs import Demucs

TINY = {"hidden": 4, "depth": 2, "zeros": 4}


@pytest.mark.parametrize(
    ("sizes", "hops"), [({"normalize": "causal"}, 1), ({}, 3), ({"resample": 1}, 1)], ids=["levels", "hops", "plain"]
)
@torch.no_grad()
def test_graph_streams_what_the_network_computes(tmp_path, sizes, hops):
    torch.manual_seed(0)
    model, file = Demucs(1, **{**TINY, **sizes}).eval(), tmp_path / "step.onnx"
    assert export_streaming_demucs(model, file, 16000, hops).holds()
    graph = StreamingGraph(file)
    for samples in (1, 2, 100, 777):
        wave = torch.randn(1, samples)
        wave[:, : samples // 2] = 0.0
        expected = model(wave)[:, 0].numpy()
        found = graph(wave.numpy())
        assert found.shape == expected.shape
        assert np.abs(found - expected).max() < 1e-5
    assert graph.number("sample_rate") == 16000
    assert graph.number("latency_samples") == model.geometry.lookahead + hops * model.geometry.hop
    assert graph.number("chunk_samples") == hops * model.geometry.hop
    shapes = {one.name: one.shape for one in graph.session.get_inputs()}
    assert shapes["chunk"] == [1, hops * model.geometry.hop]
    assert ("wave" in shapes) == ("resample" not in sizes)  # nothing is remembered for no resampling
    outputs = {one.name: one.shape for one in graph.session.get_outputs()}
    assert all(outputs[f"next_{name}"] == shape for name, shape in shapes.items() if name not in ("chunk", "frames"))


def test_network_that_cannot_stream(tmp_path):
    with pytest.raises(ValueError, match="cannot stream"):
        export_streaming_demucs(Demucs(1, **TINY, normalize=True).eval(), tmp_path / "step.onnx", 16000)
    assert list(tmp_path.iterdir()) == []
