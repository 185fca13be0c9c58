"""GTCRN: published sizes and names, bands, causality, ends of the range of inputs, export of whole files."""

import pytest
import torch

from steps.export.graph import agreement, export_graph
from steps.models.config import SeparatorConfig
from steps.models.gtcrn import GTCRN, triangles
from steps.models.separators import build_separator

TINY = {"n_fft": 32, "hop": 16, "erb_subband_1": 7, "erb_subband_2": 6, "channels": 8}
BLOCK = [
    *(f"point_{part}" for part in ("conv1.weight", "conv1.bias", "act.weight", "conv2.weight", "conv2.bias")),
    *("depth_conv.weight", "depth_conv.bias", "depth_act.weight", "tra.att_fc.weight", "tra.att_fc.bias"),
    *(f"tra.att_gru.{kind}_{which}_l0" for kind in ("weight", "bias") for which in ("ih", "hh")),
]


def test_published_sizes():
    model = GTCRN()
    parameters = list(model.parameters())
    assert sum(value.numel() for value in parameters) == 48_245
    assert sum(value.numel() for value in parameters if value.requires_grad) == 23_669
    assert [tuple(state.shape) for state in model.start(1)] == [(2, 1, 16, 16, 33), (2, 3, 1, 1, 16), (2, 1, 33, 16)]


def test_published_names():
    """Those of the authors' weights, with their shapes; the transposed convolutions of the decoder the other way."""
    shapes = {name: tuple(value.shape) for name, value in GTCRN().state_dict().items()}
    for block in (*(f"encoder.en_convs.{index}" for index in (2, 3, 4)), *(f"decoder.de_convs.{i}" for i in range(3))):
        assert {f"{block}.{name}" for name in BLOCK} < set(shapes)
        assert {f"{block}.{norm}.running_var" for norm in ("point_bn1", "depth_bn", "point_bn2")} < set(shapes)
    assert len(shapes) == 271
    assert shapes["erb.erb_fc.weight"] == (64, 192)
    assert shapes["erb.ierb_fc.weight"] == (192, 64)
    assert shapes["encoder.en_convs.0.conv.weight"] == (16, 9, 1, 5)
    assert shapes["encoder.en_convs.2.point_conv1.weight"] == (16, 24, 1, 1)
    assert shapes["decoder.de_convs.0.point_conv1.weight"] == (24, 16, 1, 1)
    assert shapes["decoder.de_convs.0.point_conv2.weight"] == (16, 8, 1, 1)
    assert shapes["decoder.de_convs.4.conv.weight"] == (16, 2, 1, 5)
    assert shapes["dpgrnn1.intra_rnn.rnn1.weight_ih_l0_reverse"] == (12, 8)
    assert shapes["dpgrnn2.inter_rnn.rnn2.weight_hh_l0"] == (24, 8)
    assert shapes["dpgrnn2.inter_ln.weight"] == (33, 16)


def test_bands_share_every_bin():
    filters = triangles(65, 64, 512, 16000)
    assert filters.shape == (64, 192)
    assert torch.allclose(filters.sum(dim=0), torch.ones(192))
    assert filters[0, 0] == filters[63, 191] == 1.0
    assert ((filters > 0).sum(dim=0) <= 2).all()
    middles = filters.argmax(dim=1).diff()
    assert middles.min() >= 1
    assert middles[-1] > 2 * middles[0]  # wider towards high frequencies


def test_kernel_over_neighbours_is_the_papers_unfolding():
    """The paper unfolds three bands into channels and takes a pointwise convolution; here one convolution does it."""
    torch.manual_seed(0)
    block = GTCRN().eval().decoder.de_convs[1]
    x, past, memory = torch.randn(2, 16, 5, 33), torch.randn(2, 16, 4, 33), torch.randn(1, 2, 16)
    half = x[:, :8]
    wide = torch.nn.functional.unfold(half, (1, 3), padding=(0, 1)).reshape(2, 24, 5, 33)
    y = block.point_act(block.point_bn1(block.point_conv1(wide)))
    y = torch.cat([past, y], dim=2)
    depth = torch.nn.functional.conv_transpose2d(
        y, block.depth_conv.weight, block.depth_conv.bias, padding=(4, 1), dilation=(2, 1), groups=16
    )
    y = block.point_bn2(block.point_conv2(block.depth_act(block.depth_bn(depth))))
    y, after = block.tra(y[:, :, : 5 + 4][:, :, -5:], memory)
    found, _, found_memory = block(x, past, memory)
    assert torch.allclose(found[:, 0::2], y, atol=1e-5)
    assert torch.equal(found[:, 1::2], x[:, 8:])
    assert torch.allclose(found_memory, after, atol=1e-5)


def test_any_length_and_extreme_inputs_are_finite():
    torch.manual_seed(0)
    model = GTCRN(1, **TINY).train()
    square = torch.sign(torch.sin(torch.arange(99) / 3.0))
    for wave in (torch.zeros(2, 99), torch.ones(2, 99), square.repeat(2, 1), torch.ones(2, 1)):
        for autocast in (False, True):
            model.zero_grad()
            with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
                found = model(wave)
            assert found.shape == (2, 1, wave.shape[1])
            assert found.dtype == torch.float32
            found.square().sum().backward()
            assert found.isfinite().all()
            assert all(value.grad.isfinite().all() for value in model.parameters() if value.requires_grad)


def test_whole_file_graph(tmp_path):
    torch.manual_seed(0)
    model, file = GTCRN(1, **TINY).eval(), tmp_path / "gtcrn.onnx"
    export_graph(model, file, {"mixture": torch.randn(2, 131)}, ["sources"], {"mixture": {0: "N", 1: "T"}}, {})
    cases = ({"mixture": torch.randn(1 + samples % 2, samples)} for samples in (16, 97, 200, 333))
    assert agreement(model, file, cases).holds()


@pytest.mark.parametrize(
    ("sizes", "message"),
    [({"erb_subband_2": 63}, "multiple of 4"), ({"n_fft": 256, "hop": 128}, "do not fit"), ({"channels": 6}, "got 65")],
)
def test_sizes_that_do_not_fit(sizes, message):
    with pytest.raises(ValueError, match=message):
        GTCRN(1, **sizes)


def test_built_by_name_for_one_talker():
    assert build_separator(SeparatorConfig("gtcrn", TINY), 1).causal
    with pytest.raises(ValueError, match="n_src is 1; got 2"):
        build_separator(SeparatorConfig("gtcrn", TINY), 2)
