"""DCUNet: published sizes and asteroid's names; for the rest see test_complex_layers."""

import pytest
import torch

from steps.models.dcunet import TABLES, DCUNet

SMALL = {"architecture": "mini", "stft_n_filters": 32, "stft_kernel_size": 32, "stft_stride": 8}
NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


@pytest.mark.parametrize(
    ("architecture", "parameters"),
    [("DCUNet-10", 1_421_890), ("DCUNet-16", 2_375_490), ("DCUNet-20", 3_527_850), ("Large-DCUNet-20", 7_662_304)],
)
def test_published_sizes(architecture, parameters):
    with torch.device("meta"):
        model = DCUNet(1, architecture)
    assert sum(p.numel() for p in model.parameters()) == parameters
    layers = int(architecture.rpartition("-")[2])
    assert len(model.masker.encoders) == len(model.masker.decoders) + 1 == layers / 2


@pytest.mark.parametrize("architecture", TABLES)
def test_names_are_asteroid_s(architecture):
    with torch.device("meta"):
        state = DCUNet(1, architecture).state_dict()
    count = len(TABLES[architecture])
    rows = {"output_layer.0": ("weight", "bias")}
    for block in (*(f"encoders.{i}.conv" for i in range(count)), *(f"decoders.{i}.deconv" for i in range(count - 1))):
        rows |= {block: ("weight",), f"{block.rpartition('.')[0]}.norm": NORM}
    names = [
        f"masker.{row}.{part}_module.{leaf}" for row, leaves in rows.items() for part in ("re", "im") for leaf in leaves
    ]
    names += [f"{end}.filterbank.{leaf}" for end in ("encoder", "decoder") for leaf in ("_filters", "torch_window")]
    assert sorted(state) == sorted(names)


def test_shapes_of_the_large_one_upwards():
    with torch.device("meta"):
        state = DCUNet(1, "Large-DCUNet-20").state_dict()
    shapes = [tuple(state[f"masker.decoders.{i}.deconv.re_module.weight"].shape) for i in (0, 1, 7, 8)]
    assert shapes == [(128, 90, 5, 3), (180, 90, 5, 3), (180, 90, 7, 5), (135, 90, 1, 7)]
    assert state["masker.output_layer.0.re_module.weight"].shape == (135, 1, 7, 1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_src": 2}, "DCUNet enhances one talker: n_src is 1; got 2"),
        ({"architecture": "DCUNet-12"}, "architecture: one of DCUNet-10, .*; got 'DCUNet-12'"),
        ({"stft_n_filters": 40}, "stft_n_filters: a multiple of 16 for mini; got 40"),
        ({"fix_length_mode": "trim"}, "'pad' keeps every sample; got 'trim'"),
    ],
)
def test_sizes_that_do_not_fit(change, message):
    with pytest.raises(ValueError, match=message):
        DCUNet(**{**SMALL, **change})
