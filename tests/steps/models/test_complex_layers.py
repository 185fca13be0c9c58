"""Complex layers on pairs of real tensors against torch's complex numbers, and the filter bank against its STFT.

And what both networks built from them hold: any length, finite gradients, a graph.
"""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from steps.export.graph import agreement, export_graph
from steps.models.complex_layers import (
    Bound,
    ComplexLstm,
    ComplexMaskNetwork,
    OnParts,
    Product,
    StftDecoder,
    StftEncoder,
    StftFilters,
)
from steps.models.config import SeparatorConfig
from steps.models.separators import build_separator

NETS = {
    "dccrn": {"architecture": "mini", "stft_n_filters": 32, "stft_kernel_size": 24, "stft_stride": 6},
    "dcunet": {"architecture": "mini", "stft_n_filters": 32, "stft_kernel_size": 32, "stft_stride": 8},
}


def parts(z):
    return z.real.contiguous(), z.imag.contiguous()


def test_a_product_is_a_layer_with_complex_weights():
    torch.manual_seed(0)
    layer = Product(nn.Conv2d, 2, 3, (3, 2))
    real, imag = layer.re_module, layer.im_module
    z = torch.randn(2, 2, 5, 4, dtype=torch.complex64)
    expected = F.conv2d(z, torch.complex(real.weight, imag.weight))
    expected = expected + torch.complex(real.bias - imag.bias, real.bias + imag.bias).reshape(3, 1, 1)
    torch.testing.assert_close(torch.complex(*layer(parts(z))), expected)


def test_parts_have_modules_of_their_own():
    layer = OnParts(nn.PReLU)
    nn.init.constant_(layer.re_module.weight, 2.0)
    nn.init.constant_(layer.im_module.weight, 3.0)
    assert [part.item() for part in layer((torch.tensor([-1.0]), torch.tensor([-1.0])))] == [-2.0, -3.0]


def test_a_complex_lstm_is_four_runs_of_two():
    torch.manual_seed(0)
    layer, (a, b) = ComplexLstm(3, 4, 1), torch.randn(2, 2, 5, 3)
    real, imag = (module.rnn for module in (layer.rnns[0].re_module, layer.rnns[0].im_module))
    found = layer((a, b))
    torch.testing.assert_close(found[0], real(a)[0] - imag(b)[0])
    torch.testing.assert_close(found[1], real(b)[0] + imag(a)[0])


def test_bounds():
    z = torch.randn(50, dtype=torch.complex64) * 3
    torch.testing.assert_close(torch.complex(*Bound("BDT")(parts(z))), z.abs().tanh() * z.sgn())
    torch.testing.assert_close(torch.complex(*Bound("UBD")(parts(z))), z)
    assert torch.equal(Bound("sigmoid")(parts(z))[1], z.imag.sigmoid())
    zeros = torch.zeros(2, 3, requires_grad=True)
    Bound("tanh")((zeros[0], zeros[1]))[0].sum().backward()
    torch.testing.assert_close(zeros.grad, torch.tensor([[1.0] * 3, [0.0] * 3]))
    with pytest.raises(ValueError, match=r"mask_bound: one of tanh, BDT, .*; got 'relu'"):
        Bound("relu")


@pytest.mark.parametrize(("n_filters", "kernel", "stride"), [(16, 16, 4), (32, 24, 6), (32, 20, 10)])
def test_the_filter_bank_is_a_scaled_stft_and_its_own_inverse(n_filters, kernel, stride):
    torch.manual_seed(0)
    filters, wave = StftFilters(n_filters, kernel, stride), torch.randn(2, 20 * stride + kernel)
    real, imag = StftEncoder(filters, stride)(wave)
    frames = wave.unfold(1, kernel, stride) * torch.hann_window(kernel).sqrt()
    missing = n_filters - kernel
    spectra = torch.fft.rfft(F.pad(frames, (missing // 2, missing - missing // 2)))
    spectra = spectra * 2 * (stride / (kernel * n_filters)) ** 0.5
    spectra[..., [0, -1]] /= 2**0.5
    torch.testing.assert_close(torch.complex(real, imag).transpose(1, 2), spectra, rtol=1e-4, atol=1e-5)
    back = StftDecoder(filters, stride)((real, imag))
    torch.testing.assert_close(back[:, kernel:-kernel], wave[:, kernel:-kernel], rtol=1e-4, atol=1e-5)


def test_a_checkpoint_without_the_window_loads():
    filters = StftFilters(16, 16, 4)
    filters.load_state_dict({"_filters": 2 * filters._filters})
    with pytest.raises(RuntimeError, match="_filters"):
        filters.load_state_dict({"torch_window": filters.torch_window})


@pytest.mark.parametrize("sizes", [(15, 10, 5), (16, 20, 5), (16, 16, 16), (16, 15, 4), (16, 16, 0)])
def test_sizes_from_which_no_waveform_comes_back(sizes):
    with pytest.raises(ValueError, match="twice stft_stride or another multiple"):
        StftFilters(*sizes)


class Ones(nn.Module):
    """A mask that changes nothing."""

    def forward(self, z):
        return torch.ones_like(z[0]), torch.zeros_like(z[1])


@pytest.mark.parametrize("samples", [1, 7, 8, 9, 64, 77])
def test_masks_of_one_give_every_sample_back(samples):
    wave = torch.randn(2, samples)
    found = ComplexMaskNetwork((32, 24, 8), (), Ones(), nyquist=True)(wave)
    torch.testing.assert_close(found, wave.unsqueeze(1), rtol=1e-4, atol=1e-5)


def test_the_last_bin_can_be_left_out():
    """What is missing is that bin's part of each frame: the window's sum, under the window again."""
    wave = torch.tensor([1.0, -1.0]).repeat(1, 48)  # at half the sampling rate
    window = torch.hann_window(32).sqrt()
    part = window.sum() * window.reshape(4, 8).sum(0).repeat(12) * 2 * 8 / (32 * 32)
    found = ComplexMaskNetwork((32, 32, 8), (), Ones(), nyquist=False)(wave)[0, 0]
    torch.testing.assert_close(found[32:-32], ((1 - part) * wave[0])[32:-32], rtol=1e-4, atol=1e-5)


def small(net):
    torch.manual_seed(0)
    return build_separator(SeparatorConfig(net, NETS[net]), 1)


@pytest.mark.parametrize("net", NETS)
def test_any_length(net):
    model = small(net).eval()
    for samples in (1, 8, 24, 65, 333):
        assert model(torch.randn(2, samples)).shape == (2, 1, samples)
    assert model.causal is False


HARD = {
    "silence": torch.zeros(2, 90),
    "offset": torch.full((2, 90), 0.9),
    "clipped": torch.sin(torch.arange(90.0)).mul(100).clamp(-1, 1).unsqueeze(0),
    "a sample": torch.ones(1, 1),
    "a silent sample": torch.zeros(1, 1),
}


@pytest.mark.parametrize("bf16", [False, True], ids=["fp32", "bf16"])
@pytest.mark.parametrize("net", NETS)
def test_hard_inputs_stay_finite(net, bf16):
    model = small(net).train()
    for kind, wave in HARD.items():
        model.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
            output = model(wave)
        assert output.dtype == torch.float32
        assert output.isfinite().all(), kind
        (output - 0.1).square().sum().backward()
        unfinished = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
        assert not unfinished, kind


@pytest.mark.parametrize("net", NETS)
def test_a_graph_computes_the_same_at_any_length(tmp_path, net):
    model = small(net).eval()
    file, example = tmp_path / "model.onnx", {"mixture": torch.randn(2, 321)}
    export_graph(model, file, example, ["estimates"], {"mixture": {0: "N", 1: "T"}}, {})
    lengths = [(1, 1), (2, 8), (1, 65), (3, 401), (1, 1003)]
    assert agreement(model, file, [{"mixture": torch.randn(n, samples)} for n, samples in lengths]).holds()
