"""Conv-TasNet: asteroid's names and sizes, any length, what is causal, what a graph computes, folded norms."""

import pytest
import torch
from torch import nn

from steps.export.graph import agreement, export_graph
from steps.models.conv_tasnet import ConvTasNet, fold_norms

TINY = {"n_filters": 16, "kernel_size": 8, "stride": 4, "bn_chan": 8, "hid_chan": 12, "skip_chan": 6, "n_blocks": 3}
NORMS = ("gLN", "cLN", "cgLN", "BN")


def tiny(seed: int = 0, **sizes) -> ConvTasNet:
    torch.manual_seed(seed)
    return ConvTasNet(2, **{**TINY, "n_repeats": 2, **sizes}).eval()


def used(model: nn.Module) -> nn.Module:
    """The model with norms as training leaves them: no gain is 1, no bias 0, some gains are negative."""
    with torch.no_grad():
        for name, value in [*model.named_parameters(), *model.named_buffers()]:
            if name.endswith("running_var"):
                value.uniform_(0.5, 2.0)
            elif value.is_floating_point() and value.dim() == 1:
                value.add_(torch.randn(value.shape))
    return model


def hard_mixtures(samples: int = 203) -> dict[str, torch.Tensor]:
    wave = torch.sin(torch.arange(float(samples)))
    return {
        "silence": torch.zeros(2, samples),
        "direct current": torch.full((2, samples), 0.9),
        "clipped": (100 * wave).clamp(-1, 1).expand(2, -1).clone(),
        "one sample": torch.full((1, 1), 0.5),
        "one silent sample": torch.zeros(1, 1),
    }


def test_the_published_size():
    model = ConvTasNet(2)
    assert sum(p.numel() for p in model.parameters()) == 5_050_545
    assert sum(p.numel() for p in ConvTasNet(2, causal=True).parameters()) == 5_050_545


@pytest.mark.parametrize("causal", [False, True])
def test_parameter_names_are_asteroid_s(causal):
    norm, conv = ("gamma", "beta"), ("weight", "bias")
    depthwise = "3.0" if causal else "3"
    rows = {"0": conv, "1": ("weight",), "2": norm, depthwise: conv, "4": ("weight",), "5": norm}
    expected = ["encoder.filterbank._filters", "decoder.filterbank._filters", "masker.mask_net.0.weight"]
    expected += [f"masker.bottleneck.0.{leaf}" for leaf in norm]
    expected += [f"masker.{name}.{leaf}" for name in ("bottleneck.1", "mask_net.1") for leaf in conv]
    for block in range(24):
        expected += [f"masker.TCN.{block}.shared_block.{row}.{leaf}" for row, leaves in rows.items() for leaf in leaves]
        expected += [f"masker.TCN.{block}.{name}.{leaf}" for name in ("res_conv", "skip_conv") for leaf in conv]
    state = ConvTasNet(2, causal=causal).state_dict()
    assert sorted(state) == sorted(expected)
    assert state["encoder.filterbank._filters"].shape == (512, 1, 16)
    assert state[f"masker.TCN.0.shared_block.{depthwise}.weight"].shape == (512, 1, 3)
    assert state["masker.mask_net.1.weight"].shape == (1024, 128, 1)


def test_without_skips_the_masks_come_from_the_residuals():
    model = tiny(skip_chan=0)
    assert not [name for name in model.state_dict() if "skip_conv" in name]
    assert model.masker.mask_net[1].in_channels == TINY["bn_chan"]
    assert model(torch.randn(1, 50)).shape == (1, 2, 50)


@pytest.mark.parametrize("samples", [1, 7, 8, 9, 12, 101, 400])
@pytest.mark.parametrize("sources", [1, 2, 3])
def test_any_length_keeps_its_length(samples, sources):
    torch.manual_seed(0)
    model = ConvTasNet(sources, **TINY, n_repeats=1)
    output = model(torch.randn(2, samples))
    assert output.shape == (2, sources, samples)
    assert output.dtype == torch.float32


def test_masks_of_one_over_all_sources_give_back_the_filter_bank_s_reconstruction():
    """With a softmax over sources the estimates sum to the decoded encoding of the mixture."""
    model = tiny(mask_act="softmax")
    mixture = torch.randn(2, 400)
    frames = model.encoder(mixture)
    torch.testing.assert_close(model(mixture).sum(1), model.decoder(frames.unsqueeze(1))[:, 0], atol=1e-6, rtol=0)


def test_one_mask_may_serve_all_filters():
    wide, narrow = tiny(), tiny(out_chan=1)
    with torch.no_grad():
        own = {name: value for name, value in narrow.state_dict().items() if "mask_net" in name}
        narrow.load_state_dict({**wide.state_dict(), **own})
        row = narrow.masker.mask_net[1]
        wide.masker.mask_net[1].weight.copy_(row.weight.repeat_interleave(TINY["n_filters"], 0))
        wide.masker.mask_net[1].bias.copy_(row.bias.repeat_interleave(TINY["n_filters"], 0))
    mixture = torch.randn(2, 99)
    torch.testing.assert_close(narrow(mixture), wide(mixture))


@pytest.mark.parametrize("norm_type", ["gLN", "cLN", "BN"])
def test_the_level_of_the_output_follows_the_input_s(norm_type):
    """Norms take the level out of what the masks see; BN, with its fixed statistics, does not."""
    model = tiny(norm_type=norm_type)
    mixture = torch.randn(1, 300)
    close = torch.allclose(model(10 * mixture), 10 * model(mixture), rtol=1e-3, atol=1e-3)
    assert close == (norm_type != "BN")


@pytest.mark.parametrize("norm_type", NORMS)
def test_a_causal_model_does_not_look_ahead(norm_type):
    model = used(tiny(norm_type=norm_type, causal=True))
    assert model.causal
    mixture = torch.randn(1, 200)
    changed = mixture.clone()
    changed[:, 120:] = 5 * torch.randn(80)
    same = (model(mixture) - model(changed)).abs().amax(dim=(0, 1)) < 1e-6
    assert same[: 120 - TINY["kernel_size"] + 1].all()
    assert not same[120:].any()


def test_a_model_that_is_not_causal_looks_ahead():
    model = tiny(norm_type="cLN", conv_kernel_size=5)
    assert not model.causal
    mixture = torch.randn(1, 200)
    changed = mixture.clone()
    changed[:, 120:] = 0.0
    assert (model(mixture) - model(changed))[..., :100].abs().max() > 1e-4


@pytest.mark.parametrize("norm_type", NORMS)
@pytest.mark.parametrize("bf16", [False, True], ids=["fp32", "bf16"])
def test_hard_mixtures_stay_finite(norm_type, bf16):
    model = tiny(norm_type=norm_type, mask_act="relu").train()
    for name, mixture in hard_mixtures().items():
        model.zero_grad()
        mixture.requires_grad_()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
            output = model(mixture)
        assert output.dtype == torch.float32
        output.square().sum().backward()
        found = [mixture.grad, *(p.grad for p in model.parameters() if p.requires_grad)]
        assert output.isfinite().all(), name
        assert all(grad is not None and grad.isfinite().all() for grad in found), name


def test_bf16_comes_close_to_fp32():
    model, mixture = tiny(), torch.randn(2, 400)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        lower = model(mixture)
    assert (lower - model(mixture)).norm() / model(mixture).norm() < 0.01


@pytest.mark.parametrize("skip_chan", [0, 6])
def test_every_parameter_that_trains_gets_a_gradient(skip_chan):
    """DDP stops on one that gets none: the last residual, which feeds nothing beside skips, is not trained."""
    model = tiny(skip_chan=skip_chan)
    model(torch.randn(1, 100)).sum().backward()
    without = {name for name, p in model.named_parameters() if p.grad is None}
    assert without == {name for name, p in model.named_parameters() if not p.requires_grad}
    assert without == ({"masker.TCN.5.res_conv.weight", "masker.TCN.5.res_conv.bias"} if skip_chan else set())


@pytest.mark.parametrize("sizes", [{}, {"causal": True}, {"skip_chan": 0}, {"kernel_size": 9, "stride": 3}])
def test_folded_norms_change_nothing(sizes):
    model = used(tiny(norm_type="BN", **sizes))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    folded = fold_norms(model)
    gone = [module for module in folded.modules() if isinstance(module, nn.BatchNorm1d)]
    assert len(gone) == 6  # of 13: the six before depthwise convolutions, whose zeros beyond the ends are not normed
    for samples in (1, 9, 301):
        mixture = torch.randn(2, samples)
        expected = model(mixture)
        assert (folded(mixture) - expected).abs().max() < 1e-5 * expected.abs().max()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_other_norms_do_not_fold():
    model = tiny()
    assert fold_norms(model).state_dict().keys() == model.state_dict().keys()


@pytest.mark.parametrize(("norm_type", "causal"), [("gLN", False), ("BN", False), ("cgLN", True)])
def test_a_graph_computes_the_same_at_any_length(tmp_path, norm_type, causal):
    model = fold_norms(used(tiny(norm_type=norm_type, causal=causal, n_repeats=1, n_blocks=2)))
    axes = {"mixture": {0: "N", 1: "T"}}
    export_graph(model, tmp_path / "model.onnx", {"mixture": torch.randn(2, 321)}, ["estimates"], axes, {})
    lengths = [(1, 1), (1, 5), (2, 8), (1, 9), (3, 401), (1, 1003)]
    cases = [{"mixture": torch.randn(n, samples)} for n, samples in lengths]
    assert agreement(model, tmp_path / "model.onnx", cases).holds()


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"conv_kernel_size": 4}, "conv_kernel_size must be odd"),
        ({"in_chan": 17}, r"in_chan is n_filters \(16\)"),
        ({"out_chan": 5}, r"out_chan is n_filters \(16\), 1"),
        ({"stride": 9}, r"stride is from 1 to kernel_size \(8\)"),
        ({"norm_type": "instance"}, "norm_type: one of"),
        ({"mask_act": "swish"}, "an activation is one of"),
    ],
)
def test_sizes_that_do_not_fit(sizes, message):
    with pytest.raises(ValueError, match=message):
        tiny(**sizes)
