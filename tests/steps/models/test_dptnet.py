"""DPTNet: published sizes, asteroid's names, and the parts that DPRNN has not."""

import pytest
import torch
from torch import nn

from steps.models.dptnet import DPTNet, ImprovedTransformer

AFFINE, NORM = ("weight", "bias"), ("gamma", "beta")


def names_of_asteroid(repeats: int, both_ways: bool = True) -> list[str]:
    modules = {"masker.in_norm": NORM, "masker.first_out.0": AFFINE[:1], "masker.first_out.1": AFFINE}
    modules |= {"masker.net_out.0": AFFINE, "masker.net_gate.0": AFFINE}
    modules |= {"encoder.filterbank": ("_filters",), "decoder.filterbank": ("_filters",)}
    for layer in range(repeats):
        for path, ends in ((0, ("l0", "l0_reverse")), (1, ("l0", "l0_reverse") if both_ways else ("l0",))):
            of = f"masker.layers.{layer}.{path}"
            modules |= {f"{of}.mha": ("in_proj_weight", "in_proj_bias"), f"{of}.mha.out_proj": AFFINE}
            modules |= {
                f"{of}.recurrent": [f"{kind}_{of}_{end}" for kind in AFFINE for of in ("ih", "hh") for end in ends]
            }
            modules |= {f"{of}.linear": AFFINE, f"{of}.norm_mha": NORM, f"{of}.norm_ff": NORM}
    return [f"{module}.{leaf}" for module, leaves in modules.items() for leaf in leaves]


@pytest.mark.parametrize(
    ("sizes", "parameters"),
    [({}, 8_529_025), ({"n_repeats": 2, "kernel_size": 32, "stride": 16, "mask_act": "sigmoid"}, 2_857_601)],
)
def test_published_sizes(sizes, parameters):
    with torch.device("meta"):
        assert sum(p.numel() for p in DPTNet(2, **sizes).parameters()) == parameters


@pytest.mark.parametrize("both_ways", [True, False])
def test_parameter_names_are_asteroid_s(both_ways):
    with torch.device("meta"):
        state = DPTNet(2, bidirectional=both_ways).state_dict()
    assert sorted(state) == sorted(names_of_asteroid(6, both_ways))
    assert state["masker.layers.5.1.mha.in_proj_weight"].shape == (192, 64)
    assert state["masker.layers.5.1.linear.weight"].shape == (64, 512 if both_ways else 256)
    assert state["masker.first_out.1.weight"].shape == (128, 64, 1, 1)


def test_frames_are_widened_to_a_multiple_of_the_heads():
    model = DPTNet(2, n_heads=3, n_filters=8, ff_hid=4, n_repeats=1, chunk_size=6)
    assert model.masker.input_layer.weight.shape == (9, 8)
    assert model.masker.in_norm.gamma.shape == (9,)
    assert model(torch.randn(2, 50)).shape == (2, 2, 50)
    with pytest.raises(ValueError, match=r"model\.sizes\.n_heads: 1 or more; got 0"):
        DPTNet(2, n_heads=0)


def test_a_layer_attends_then_recurs_each_with_residual_and_norm():
    """Without either, two norms are left; the recurrent part alone knows which frame comes first."""
    torch.manual_seed(0)
    layer = ImprovedTransformer(4, 2, 3, 0.0, "relu", True, "gLN").eval()
    x, order = torch.randn(2, 7, 4), torch.randperm(7)
    assert not torch.allclose(layer(x)[:, order], layer(x[:, order]), atol=1e-3)
    nn.init.zeros_(layer.linear.weight)
    nn.init.zeros_(layer.linear.bias)
    torch.testing.assert_close(layer(x)[:, order], layer(x[:, order]), rtol=1e-4, atol=1e-5)
    nn.init.zeros_(layer.mha.out_proj.weight)
    mean, deviation = x.mean((1, 2), keepdim=True), x.std((1, 2), correction=0, keepdim=True)
    torch.testing.assert_close(layer(x), (x - mean) / deviation, rtol=1e-4, atol=1e-5)


def test_overlapping_chunks_are_averaged():
    """With layers, norms and gates that pass all on, a mask is what its channel was, not twice that."""
    masker = DPTNet(1, n_heads=1, n_filters=1, ff_hid=2, n_repeats=0, chunk_size=6, mask_act="linear").masker
    with torch.no_grad():
        for value in masker.parameters():
            value.fill_(1.0)
        for module in (masker.first_out[1], masker.net_out[0], masker.net_gate[0]):
            module.bias.zero_()
        masker.net_gate[0].bias.fill_(50.0)  # open
        masker.in_norm.gamma.fill_(0.1)
        masker.in_norm.beta.fill_(0.4)
    frames = torch.randn(1, 1, 25)
    normed = 0.1 * (frames - frames.mean()) / frames.std(correction=0) + 0.4
    torch.testing.assert_close(masker(frames)[:, 0], normed.tanh(), rtol=1e-4, atol=1e-5)
