"""SuDoRM-RF, first and improved: asteroid's names and sizes, any length and stride, what a graph computes."""

import pytest
import torch
from torch.nn import functional

from steps.export.graph import agreement, export_graph
from steps.models.sudormrf import GroupNorm, SuDORMRFImprovedNet, SuDORMRFNet, UConvBlock, doubled

NETS = (SuDORMRFNet, SuDORMRFImprovedNet)
TINY = {"n_filters": 12, "kernel_size": 9, "bn_chan": 8, "num_blocks": 2, "upsampling_depth": 3}


def tiny(net, **sizes):
    torch.manual_seed(0)
    return net(2, **{**TINY, **sizes}).eval()


@pytest.mark.parametrize(("net", "published"), [(SuDORMRFNet, 2_584_196), (SuDORMRFImprovedNet, 2_630_801)])
def test_the_published_sizes(net, published):
    assert sum(p.numel() for p in net(2).parameters()) == published


def block_names(depth: int, norm: tuple[str, str], rows: dict[str, tuple[str, ...]]) -> list[str]:
    """Names in a block: what both nets have, and the `rows` of one of them."""
    conv = ("conv.weight", "conv.bias")
    normed = tuple(f"norm.{leaf}" for leaf in norm)
    both = {"proj_1x1": (*conv, *normed, "act.weight"), "final_norm": (*normed, "act.weight")}
    both |= {f"spp_dw.{level}": (*conv, *normed) for level in range(depth)}
    return [f"{row}.{leaf}" for row, leaves in {**both, **rows}.items() for leaf in leaves]


def test_parameter_names_are_asteroid_s():
    filters = [f"{name}.filterbank._filters" for name in ("encoder", "encoder.encoder", "decoder")]
    conv = ("weight", "bias")
    rows = {
        "conv_1x1_exp": ("conv.weight", "conv.bias", "norm.weight", "norm.bias"),
        "module_act": ("norm.weight", "norm.bias", "act.weight"),
    }
    first = filters + [f"masker.{name}.{leaf}" for name in ("ln", "l1", "reshape_before_masks", "m") for leaf in conv]
    first += [f"masker.sm.{n}.{leaf}" for n in range(16) for leaf in block_names(4, conv, rows)]
    assert sorted(SuDORMRFNet(2).state_dict()) == sorted(first)

    norm = ("gamma", "beta")
    improved = [*filters, *(f"masker.ln.{leaf}" for leaf in norm), "masker.mask_net.0.weight"]
    improved += [f"masker.{name}.{leaf}" for name in ("bottleneck", "mask_net.1") for leaf in conv]
    improved += [f"masker.sm.{n}.{leaf}" for n in range(16) for leaf in block_names(4, norm, {"res_conv": conv})]
    state = SuDORMRFImprovedNet(2).state_dict()
    assert sorted(state) == sorted(improved)
    assert state["masker.sm.0.proj_1x1.act.weight"].shape == (1,)
    assert state["masker.sm.0.final_norm.act.weight"].shape == (512,)


def test_the_first_net_s_masks_are_one_filter_over_the_frequencies():
    state = SuDORMRFNet(2, num_blocks=1).state_dict()
    assert state["masker.m.weight"].shape == (2, 1, 513, 1)
    assert state["masker.sm.0.proj_1x1.act.weight"].shape == (512,)
    assert "masker.reshape_before_masks.weight" not in tiny(SuDORMRFNet, bn_chan=12).state_dict()


def test_the_encoder_s_two_names_are_one_parameter():
    model = tiny(SuDORMRFImprovedNet)
    state = model.state_dict()
    state["encoder.encoder.filterbank._filters"] = state["encoder.filterbank._filters"] = torch.ones(12, 1, 9)
    model.load_state_dict(state, strict=True)
    assert model.encoder.filterbank._filters is model.encoder.encoder.filterbank._filters
    assert torch.equal(model.encoder(torch.ones(1, 9)), torch.full((1, 12, 1), 9.0))


@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize(("kernel_size", "stride", "expected"), [(9, None, 4), (9, 3, 3), (9, 5, 5), (10, None, 5)])
def test_the_stride_is_honoured(net, kernel_size, stride, expected):
    model = tiny(net, kernel_size=kernel_size, stride=stride)
    assert model.encoder.encoder.stride == model.decoder.stride == expected
    assert model.multiple % expected == model.multiple % 2 ** TINY["upsampling_depth"] == 0
    for samples in (1, 40, 77):
        assert model(torch.randn(2, samples)).shape == (2, 2, samples)


@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("samples", [1, 8, 9, 101])
@pytest.mark.parametrize("sources", [1, 3])
def test_any_length_keeps_its_length(net, samples, sources):
    output = net(sources, **TINY)(torch.randn(2, samples))
    assert output.shape == (2, sources, samples)
    assert output.dtype == torch.float32


@pytest.mark.parametrize("kernel_size", [9, 10])
def test_frames_are_centred_on_multiples_of_the_stride(kernel_size):
    """An impulse in the encoder's and the decoder's filters: the mixture comes back where it was, unto its ends."""
    model = tiny(SuDORMRFNet, n_filters=2, kernel_size=kernel_size, mask_act="softmax", stride=1)
    with torch.no_grad():
        for coder in (model.encoder, model.decoder):
            coder.filterbank._filters.zero_()[0, 0, kernel_size // 2] = 1.0
    mixture = torch.rand(1, 37)  # positive, since the encoder rectifies
    torch.testing.assert_close(model(mixture).sum(1), mixture)


def test_a_block_adds_up_its_levels():
    """With convolutions of one tap, each level is the one above at every second frame."""
    block = UConvBlock(1, 1, 3)
    for row in (block.proj_1x1, block.final_norm, *block.spp_dw):
        row.norm = torch.nn.Identity()
    with torch.no_grad():
        for convolution in (block.proj_1x1.conv, block.res_conv, *(row.conv for row in block.spp_dw)):
            convolution.weight.zero_()[0, 0, convolution.kernel_size[0] // 2] = 1.0
            convolution.bias.zero_()
    x = torch.arange(1.0, 8.0).reshape(1, 1, 7)
    second = torch.tensor([1.0, 1, 3, 3, 5, 5, 7])
    third = torch.tensor([1.0, 1, 1, 1, 5, 5, 5])
    assert block(x).flatten().tolist() == (2 * x.flatten() + second + third).tolist()


def test_doubled():
    assert doubled(torch.tensor([[[1.0, 2.0]]])).tolist() == [[[1.0, 1.0, 2.0, 2.0]]]


def test_the_first_net_s_norm_is_that_of_all_channels():
    x = torch.randn(2, 4, 5)
    expected = functional.layer_norm(x, (4, 5), eps=0.0)
    torch.testing.assert_close(GroupNorm(4)(x), expected, atol=1e-5, rtol=0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert GroupNorm(4)(x.bfloat16()).dtype == torch.bfloat16


@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("bf16", [False, True], ids=["fp32", "bf16"])
def test_hard_mixtures_stay_finite(net, bf16):
    model = tiny(net).train()
    square = torch.sin(torch.arange(203.0)).mul(100).clamp(-1, 1)
    for mixture in (torch.zeros(2, 203), torch.full((2, 203), 0.9), square[None], torch.ones(1, 1), torch.zeros(1, 1)):
        model.zero_grad()
        mixture.requires_grad_()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
            output = model(mixture)
        assert output.dtype == torch.float32
        output.square().sum().backward()
        assert output.isfinite().all()
        assert mixture.grad.isfinite().all()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize(
    ("net", "sizes"), [(SuDORMRFNet, {"kernel_size": 10, "upsampling_depth": 2}), (SuDORMRFImprovedNet, {})]
)
def test_a_graph_computes_the_same_at_any_length(tmp_path, net, sizes):
    model = tiny(net, **sizes, num_blocks=1)
    axes = {"mixture": {0: "N", 1: "T"}}
    export_graph(model, tmp_path / "model.onnx", {"mixture": torch.randn(2, 321)}, ["estimates"], axes, {})
    lengths = [(1, 1), (1, 5), (2, 8), (1, 9), (3, 401), (1, 1003)]
    cases = [{"mixture": torch.randn(n, samples)} for n, samples in lengths]
    assert agreement(model, tmp_path / "model.onnx", cases).holds()


@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"in_chan": 13}, r"in_chan is n_filters \(12\)"),
        ({"stride": 6}, "stride is from 1 to 5 for kernel_size 9"),
        ({"mask_act": "swish"}, "an activation is one of"),
    ],
)
def test_sizes_that_do_not_fit(net, sizes, message):
    with pytest.raises(ValueError, match=message):
        tiny(net, **sizes)


def test_the_first_net_wants_an_even_filter_bank():
    with pytest.raises(ValueError, match="n_filters must be even"):
        tiny(SuDORMRFNet, n_filters=13)
