"""FastEnhancer: published parameter counts, the mask, extreme inputs, export of whole files."""

import pytest
import torch
from torch import nn

from steps.export.graph import agreement, export_graph
from steps.models.fast_enhancer import PUBLISHED, FastEnhancer, interpolation, scaled

TINY = {"n_fft": 32, "hop": 16, "channels": 8, "block_channels": 8, "places": 3, "blocks": 2, "heads": 2}


def deployed(model: nn.Module) -> int:
    """Parameters with norms gone into the layers before them, of which a bias each stays."""
    gone = sum(module.weight.numel() for module in model.modules() if isinstance(module, nn.BatchNorm1d))
    return sum(value.numel() for value in model.parameters()) - gone


def test_parameter_counts():
    assert {name: deployed(FastEnhancer(1, **sizes)) // 1000 for name, sizes in PUBLISHED.items()} == {
        "tiny": 21,  # 22 k in the paper, rounded
        "base": 91,
        "small": 194,
    }
    assert 200_000 < deployed(FastEnhancer()) < 500_000


@torch.no_grad()
def test_mask_of_one_lets_through_all_but_the_last_bin():
    torch.manual_seed(0)
    model = FastEnhancer(1, **TINY).eval()
    model.mask.weight.zero_()
    wave = torch.randn(2, 333)
    real, imag = model.stft.analysis(wave)
    real[:, -1] = imag[:, -1] = 0.0
    assert torch.allclose(model(wave)[:, 0], model.stft.synthesis(real, imag, 333), atol=1e-5)
    model.mask.bias.copy_(torch.tensor([0.0, 0.5]))  # a quarter turn, and 0.5 in the compressed domain
    turned = model.stft.synthesis(-imag, real, 333) * 0.5 ** (1 / 0.3)
    assert torch.allclose(model(wave)[:, 0], turned, atol=1e-5)


def test_scaled_keeps_the_phase():
    x = torch.tensor([[[3.0, 0.0], [4.0, 0.0]]], requires_grad=True)
    y = scaled(x, 0.5)
    assert torch.allclose(y, torch.tensor([[[3.0, 0.0], [4.0, 0.0]]]) / 5**0.5)
    y.sum().backward()
    assert x.grad.isfinite().all()


def test_interpolation_keeps_constants_and_order():
    gather, spread = interpolation(64, 12)
    assert gather.shape == (12, 64)
    assert torch.allclose(gather.sum(dim=1), torch.ones(12))
    assert torch.allclose(spread.sum(dim=1), torch.ones(64))
    places = spread @ gather @ torch.arange(64.0)
    assert (places.diff() > 0).all()
    assert (places - torch.arange(64.0)).abs().max() < 3


def test_any_length_and_extreme_inputs_are_finite():
    torch.manual_seed(0)
    model = FastEnhancer(1, **TINY).train()
    loud = torch.cat([torch.zeros(40), torch.ones(40), -torch.ones(41)]).repeat(2, 1)
    for wave in (torch.zeros(2, 77), torch.full((2, 77), 0.5), loud, torch.ones(2, 1)):
        for kind in (torch.float32, torch.bfloat16):
            model.zero_grad()
            with torch.autocast("cpu", torch.bfloat16, enabled=kind == torch.bfloat16):
                estimate = model(wave)
            assert (estimate.shape, estimate.dtype) == ((2, 1, wave.shape[1]), torch.float32)
            estimate.abs().mean().backward()
            gradients = [value.grad for value in model.parameters()]
            assert estimate.isfinite().all()
            assert all(gradient.isfinite().all() for gradient in gradients)


def test_whole_file_graph(tmp_path):
    torch.manual_seed(0)
    model, file = FastEnhancer(1, **TINY).eval(), tmp_path / "enhancer.onnx"
    export_graph(model, file, {"mixture": torch.randn(2, 131)}, ["sources"], {"mixture": {0: "N", 1: "T"}}, {})
    assert agreement(model, file, ({"mixture": torch.randn(1, samples)} for samples in (16, 97, 333))).holds()


@pytest.mark.parametrize("sizes", [{"places": 9}, {"block_channels": 9}, {"n_fft": 36, "hop": 18}, {"compression": 0}])
def test_sizes_that_do_not_fit(sizes):
    with pytest.raises(ValueError, match=r"fast_enhancer: model\.sizes"):
        FastEnhancer(1, **{**TINY, **sizes})


def test_one_talker():
    with pytest.raises(ValueError, match="n_src is 1; got 3"):
        FastEnhancer(3)
