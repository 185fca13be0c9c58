"""Which network of ours a checkpoint of asteroid, denoiser or GTCRN is for, told from files in their formats."""

import pytest
import torch
from torch.torch_version import TorchVersion

from steps.models.config import SeparatorConfig
from steps.models.conv_tasnet import ConvTasNet
from steps.models.demucs import Demucs
from steps.models.foreign import load_foreign
from steps.models.foreign_separators import as_separator
from steps.models.inert_pickle import Named
from steps.models.separators import build_separator

CONV = {"n_filters": 16, "bn_chan": 6, "hid_chan": 10, "skip_chan": 4, "n_blocks": 2, "n_repeats": 1}
CONV_ARGS = {  # as asteroid's get_model_args gives them
    **{"fb_name": "FreeFB", "kernel_size": 8, "stride": 4, "sample_rate": 8000.0},
    **{"in_chan": 16, "out_chan": 16, "conv_kernel_size": 3, "n_src": 3, "norm_type": "gLN", "mask_act": "relu"},
    **{"causal": False, "encoder_activation": None, **CONV},
}
INFOS = {"software_versions": {"torch_version": TorchVersion("2.1.0")}}
CLASS = Named("denoiser.demucs.Demucs")


def conv() -> ConvTasNet:
    return ConvTasNet(3, **CONV, kernel_size=8, stride=4, mask_act="relu")


def test_asteroid(tmp_path):
    model, file = conv(), tmp_path / "model.pth"
    torch.save(
        {"model_name": "ConvTasNet", "state_dict": model.state_dict(), "model_args": CONV_ARGS, "infos": INFOS}, file
    )
    found = as_separator(load_foreign(file))
    assert (found.architecture, found.sources) == ("conv_tasnet", 3)
    assert "sample_rate" not in found.sizes and "fb_name" not in found.sizes and "n_src" not in found.sizes
    ours = build_separator(SeparatorConfig(found.architecture, found.sizes), found.sources)
    ours.load_state_dict(found.weights)
    wave = torch.randn(1, 300)
    assert torch.equal(ours.eval()(wave), model.eval()(wave))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_name": "LSTMTasNet"}, "'LSTMTasNet' is no network that we have"),
        ({"model_args": {**CONV_ARGS, "fb_name": "STFTFB"}}, "fb_name='STFTFB'"),
        ({"model_args": {**CONV_ARGS, "colour": 3}}, "colour=3"),
        ({"model_args": {**CONV_ARGS, "bn_chan": Named("os.system", ("ls",))}}, "bn_chan is <os.system>"),
        ({"model_args": None}, "without model_args"),
        ({"state_dict": {}}, "no weights"),
        ({"state_dict": {"a": 3}}, "no such are a"),
    ],
)
def test_asteroid_that_is_not_ours(change, message):
    loaded = {"model_name": "ConvTasNet", "state_dict": {"a": torch.ones(1)}, "model_args": CONV_ARGS, **change}
    with pytest.raises(ValueError, match=message):
        as_separator(loaded)


@pytest.mark.parametrize(
    ("name", "architecture", "arguments"),
    [
        ("DCCRNet", "dccrn", {"n_freqs": 16, "mask_bound": "sigmoid"}),
        ("DCUNet", "dcunet", {"fix_length_mode": "pad", "n_src": 1}),
        ("DCUNet", "dcunet", {}),
    ],
)
def test_complex_networks_of_asteroid(name, architecture, arguments):
    sizes = {"architecture": "mini", "stft_n_filters": 32, "stft_kernel_size": 32, "stft_stride": 8}
    told = {key: value for key, value in arguments.items() if key not in ("n_freqs", "n_src")}
    weights = build_separator(SeparatorConfig(architecture, {**sizes, **told}), 1).state_dict()
    given = {**sizes, "sample_rate": 16000.0, **arguments}
    found = as_separator({"model_name": name, "state_dict": weights, "model_args": given})
    assert (found.architecture, found.sizes, found.sources) == (architecture, {**sizes, **told}, 1)
    build_separator(SeparatorConfig(architecture, found.sizes), found.sources).load_state_dict(found.weights)


def test_arguments_that_the_class_decides():
    sudormrf = {"n_src": 2, "fb_name": "FreeFB", "encoder_activation": "relu", "bn_chan": 8, "num_blocks": 2}
    loaded = {"model_name": "SuDORMRFNet", "state_dict": {"a": torch.ones(1)}, "model_args": sudormrf}
    assert as_separator(loaded).sizes == {"bn_chan": 8, "num_blocks": 2}


def test_denoiser_package():
    weights = Demucs(1, hidden=4, depth=2, resample=2).state_dict()
    package = {"class": CLASS, "args": (1, 1, 4), "kwargs": {"depth": 2, "resample": 2, "sample_rate": 16000}}
    found = as_separator({**package, "state": weights})
    expected = {"normalize": True, "chin": 1, "chout": 1, "hidden": 4, "depth": 2, "resample": 2}
    assert (found.architecture, found.sizes, found.sources) == ("demucs", expected, 1)
    build_separator(SeparatorConfig("demucs", found.sizes), 1).load_state_dict(found.weights)
    best = {name: value + 1 for name, value in weights.items()}
    trained = {"model": {**package, "state": weights}, "optimizer": {}, "history": [], "best_state": best, "args": None}
    assert as_separator(trained).weights["lstm.lstm.bias_ih_l0"].equal(best["lstm.lstm.bias_ih_l0"])
    assert as_separator({**trained, "best_state": None}).weights.keys() == weights.keys()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"class": Named("other.Net")}, "the class other.Net"),
        ({"kwargs": {"colour": 1}}, "'colour'"),
        ({"kwargs": {"hidden": Named("a.b")}}, "hidden is <a.b>"),
    ],
)
def test_denoiser_that_is_not_ours(change, message):
    package = {"class": CLASS, "args": (), "kwargs": {}, "state": {"a": torch.ones(1)}, **change}
    with pytest.raises(ValueError, match=message):
        as_separator(package)


@pytest.mark.parametrize(
    "sizes",
    [
        {"hidden": 6},
        {"hidden": 4, "depth": 3, "kernel_size": 12},
        {"hidden": 4, "depth": 3, "causal": False},
        {"hidden": 4, "depth": 3, "growth": 1.5, "glu": False},
        {"hidden": 4, "depth": 4, "max_hidden": 10},
    ],
    ids=str,
)
def test_weights_of_demucs_by_themselves(sizes):
    weights = Demucs(1, **sizes).state_dict()
    found = as_separator({f"module.{name}": value for name, value in weights.items()})
    assert (found.architecture, found.sources) == ("demucs", 1)
    assert {key: found.sizes[key] for key in sizes} == sizes
    build_separator(SeparatorConfig("demucs", found.sizes), 1).load_state_dict(found.weights)


def test_gtcrn_and_unknown_weights():
    found = as_separator({"epoch": 3, "model": {"erb.erb_fc.weight": torch.ones(1)}, "optimizer": {}})
    assert (found.architecture, found.sizes, found.sources) == ("gtcrn", {}, 1)
    unknown = as_separator({"state_dict": {"masker.weight": torch.ones(1)}})
    assert (unknown.architecture, unknown.sizes, unknown.sources) == (None, {}, None)


def test_sudormrf_of_its_authors():
    loaded = {"module": "__torch__.dnn.improved_sudormrf.SuDORMRF", "state_dict": {"encoder.weight": torch.ones(1)}}
    with pytest.raises(ValueError, match="another decoder"):
        as_separator(loaded)
