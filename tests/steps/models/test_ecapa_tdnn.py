"""ECAPA-TDNN: names, and its parts against closed forms."""

import pytest
import torch
from torch import nn

from steps.models.ecapa_tdnn import ConvReluNorm, EcapaTdnn, Res2Layer, SqueezeExcitation

AFFINE = ["weight", "bias"]
NORM = [*AFFINE, "running_mean", "running_var", "num_batches_tracked"]


def names_of_wespeaker() -> list[str]:
    modules = {"layer1.conv": AFFINE, "layer1.bn": NORM, "conv": AFFINE, "bn": NORM, "linear": AFFINE}
    modules |= {"pool.linear1": AFFINE, "pool.linear2": AFFINE}
    for layer in (2, 3, 4):
        block = f"layer{layer}.se_res2block"
        modules |= {f"{block}.0.conv": AFFINE, f"{block}.0.bn": NORM, f"{block}.2.conv": AFFINE, f"{block}.2.bn": NORM}
        modules |= {f"{block}.1.convs.{k}": AFFINE for k in range(7)}
        modules |= {f"{block}.1.bns.{k}": NORM for k in range(7)}
        modules |= {f"{block}.3.linear1": AFFINE, f"{block}.3.linear2": AFFINE}
    return [f"{module}.{name}" for module, names in modules.items() for name in names]


@pytest.mark.parametrize(("global_context", "attention_inputs"), [(True, 4608), (False, 1536)])
@pytest.mark.parametrize("channels", [512, 1024])
def test_parameter_names_are_wespeaker_s(channels, global_context, attention_inputs):
    with torch.device("meta"):
        state = EcapaTdnn(80, 192, channels, global_context).state_dict()
    assert sorted(state) == sorted(names_of_wespeaker())
    assert len(state) == 221
    assert state["conv.weight"].shape == (1536, 3 * channels, 1)
    assert state["pool.linear1.weight"].shape == (128, attention_inputs, 1)
    assert state["layer3.se_res2block.1.convs.6.weight"].shape == (channels // 8, channels // 8, 3)


def test_a_layer_rectifies_before_it_normalises():
    layer = ConvReluNorm(1, 1).eval()
    nn.init.ones_(layer.conv.weight)
    nn.init.zeros_(layer.conv.bias)
    layer.bn.running_mean.fill_(3.0)
    assert layer(torch.tensor([[[-5.0, 4.0]]])).flatten().tolist() == pytest.approx([-3.0, 1.0], abs=1e-4)


def test_res2_parts_add_up_and_the_last_one_passes():
    """With convolutions that change nothing, part i is the sum of the parts up to i."""
    layer = Res2Layer(16, dilation=2).eval()
    for conv in layer.convs:
        nn.init.dirac_(conv.weight)
        nn.init.zeros_(conv.bias)
    x = torch.rand(1, 16, 5)
    results = layer(x, None).view(8, 2, 5)
    parts = x.view(8, 2, 5)
    torch.testing.assert_close(results[:7], parts[:7].cumsum(0), rtol=1e-4, atol=1e-4)
    assert torch.equal(results[7], parts[7])


@pytest.mark.parametrize(("name", "dilation"), [("layer2", 2), ("layer3", 3), ("layer4", 4)])
def test_blocks_reach_wider_and_wider(name, dilation):
    """The first part of the channels sees three frames, `dilation` apart."""
    res2 = getattr(EcapaTdnn(8, 8, channels=32), name).se_res2block[1].eval()
    nn.init.uniform_(res2.convs[0].weight, 0.1, 1.0)
    x = torch.rand(1, 32, 21, requires_grad=True)
    res2(x, None)[0, :4, 10].sum().backward()
    assert x.grad.abs().sum(1)[0].nonzero().flatten().tolist() == [10 - dilation, 10, 10 + dilation]


def test_excitation_scales_each_channel_by_a_number_between_zero_and_one():
    gate = SqueezeExcitation(6)
    x = torch.randn(2, 6, 9)
    ratio = gate(x, None) / x
    torch.testing.assert_close(ratio, ratio[:, :, :1].expand_as(ratio))
    means = x.mean(2)
    expected = gate.linear2(gate.linear1(means).relu()).sigmoid()
    torch.testing.assert_close(ratio[:, :, 0], expected)


def test_narrow_ones_pool_less_and_need_a_multiple_of_eight():
    assert EcapaTdnn(80, 64, channels=128).linear.in_features == 2 * 384
    with pytest.raises(ValueError, match=r"model\.channels must be a multiple of 8 for ecapa_tdnn; got 12"):
        EcapaTdnn(80, 64, channels=12)
