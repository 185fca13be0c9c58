"""NSNet2: the paper's size, streaming, what would break it, and the graph that sherpa-onnx could run."""

import pytest
import torch

from steps.export.graph import agreement, export_graph
from steps.models.config import SeparatorConfig
from steps.models.separators import build_separator

SMALL = {"n_fft": 32, "hop": 16, "hid_size": 8, "fc_size": 12}


def small(**changed) -> torch.nn.Module:
    torch.manual_seed(0)
    return build_separator(SeparatorConfig("nsnet2", {**SMALL, **changed}), 1).eval()


def test_parameters_of_the_paper():
    bins, cells, wide = 161, 400, 600
    grus = 2 * (2 * 3 * cells * cells + 2 * 3 * cells)
    dense = (bins * cells + cells) + (cells * wide + wide) + (wide * wide + wide) + (wide * bins + bins)
    model = build_separator(SeparatorConfig("nsnet2"), 1)
    assert sum(p.numel() for p in model.parameters()) == grus + dense == 2_687_561


@pytest.mark.parametrize("complex_mask", [False, True])
@pytest.mark.parametrize("chunk", [1, 7, 16, 113, 1000])
def test_a_stream_gives_what_the_file_gives(chunk, complex_mask):
    model = small(complex_mask=complex_mask)
    wave = torch.cat([torch.zeros(2, 100), torch.randn(2, 433)], dim=1)
    streamer = model.streamer()
    for _ in range(2):  # the second file as the first
        parts = [streamer(part) for part in wave.split(chunk, dim=1)] + [streamer.flush()]
        with torch.no_grad():
            assert torch.allclose(torch.cat(parts, dim=1), model(wave)[:, 0], atol=1e-6)


def test_the_future_does_not_change_the_past():
    model, wave = small(), torch.randn(1, 400)
    other = torch.cat([wave[:, :200], torch.randn(1, 200)], dim=1)
    with torch.no_grad():
        same = 200 - model.streamer().latency_samples
        assert torch.equal(model(wave)[..., :same], model(other)[..., :same])


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", ["silence", "dc", "clipped", "one"])
def test_finite_gradients(kind, precision):
    waves = {
        "silence": torch.zeros(2, 200),
        "dc": torch.ones(2, 200),
        "clipped": torch.sign(torch.randn(2, 200)),
        "one": torch.randn(2, 1),
    }
    model = small(complex_mask=True).train()
    with torch.autocast("cpu", dtype=precision, enabled=precision is not torch.float32):
        out = model(waves[kind])
    assert out.dtype == torch.float32 and out.shape == (2, 1, waves[kind].shape[1])
    out.square().sum().backward()
    assert all(p.grad is None or torch.isfinite(p.grad).all() for p in model.parameters())


def test_export(tmp_path):
    model = small(complex_mask=True)
    axes = {"mixture": {0: "N", 1: "T"}}
    export_graph(model, tmp_path / "m.onnx", {"mixture": torch.randn(2, 300)}, ["sources"], axes, {})
    cases = [{"mixture": torch.randn(1 + k % 2, samples)} for k, samples in enumerate((17, 160, 301, 1000))]
    assert agreement(model, tmp_path / "m.onnx", cases).holds()
