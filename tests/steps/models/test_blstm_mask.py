"""Masks by BLSTM: sizes, lengths, what would break it, and the graph that is exported."""

import pytest
import torch

from steps.export.graph import agreement, export_graph
from steps.models.config import SeparatorConfig
from steps.models.separators import build_separator

SMALL = {"n_fft": 32, "hop": 16, "hid_size": 6, "num_layers": 2}


def small(sources: int = 2, **changed) -> torch.nn.Module:
    torch.manual_seed(0)
    return build_separator(SeparatorConfig("blstm_mask", {**SMALL, **changed}), sources)


def test_parameters_by_the_closed_form():
    model = build_separator(SeparatorConfig("blstm_mask", {"n_fft": 256, "hop": 128, "hid_size": 128}), 2)
    lstm = 2 * 4 * 128 * (129 + 128 + 2) + 2 * 4 * 128 * (256 + 128 + 2)
    assert sum(p.numel() for p in model.parameters()) == 2 * 129 + lstm + (256 * 258 + 258)


@pytest.mark.parametrize("complex_mask", [False, True])
@pytest.mark.parametrize("samples", [1, 15, 16, 333])
def test_any_length(samples, complex_mask):
    model = small(3, complex_mask=complex_mask).eval()
    assert model(torch.randn(2, samples)).shape == (2, 3, samples)


def test_masks_that_add_up_give_the_mixture_back():
    model, mixture = small(), torch.randn(2, 500)
    torch.nn.init.zeros_(model.masks.weight)
    torch.nn.init.zeros_(model.masks.bias)  # every mask is one half
    assert torch.allclose(model(mixture).sum(dim=1), mixture, atol=1e-5)


def test_loudness_does_not_change_what_is_separated():
    model, mixture = small().eval(), 0.1 * torch.randn(1, 500)
    assert torch.allclose(model(10 * mixture), 10 * model(mixture), rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", ["silence", "dc", "clipped", "one"])
def test_finite_gradients(kind, precision):
    waves = {
        "silence": torch.zeros(2, 200),
        "dc": torch.ones(2, 200),
        "clipped": torch.sign(torch.randn(2, 200)),
        "one": torch.randn(2, 1),
    }
    model = small(complex_mask=True)
    with torch.autocast("cpu", dtype=precision, enabled=precision is not torch.float32):
        out = model(waves[kind])
    assert out.dtype == torch.float32
    out.square().sum().backward()
    assert all(p.grad is None or torch.isfinite(p.grad).all() for p in model.parameters())


def test_export(tmp_path):
    model = small(complex_mask=True).eval()
    axes = {"mixture": {0: "N", 1: "T"}}
    export_graph(model, tmp_path / "m.onnx", {"mixture": torch.randn(2, 300)}, ["sources"], axes, {})
    cases = [{"mixture": torch.randn(1 + k % 2, samples)} for k, samples in enumerate((17, 160, 301, 1000))]
    assert agreement(model, tmp_path / "m.onnx", cases).holds()
