"""DCCRN: published size, asteroid's names, and how far it looks ahead; for the rest see test_complex_layers."""

import pytest
import torch

from steps.models.dccrn import DCCRNet

SMALL = {"architecture": "mini", "stft_n_filters": 32, "stft_kernel_size": 24, "stft_stride": 6}
NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


def test_published_size():
    with torch.device("meta"):
        assert sum(p.numel() for p in DCCRNet().parameters()) == 3_669_336


def test_names_are_asteroid_s():
    with torch.device("meta"):
        state = DCCRNet().state_dict()
    rnn = [f"rnn.{kind}_{of}_l0" for kind in ("weight", "bias") for of in ("ih", "hh")]
    rows = {"output_layer.0": ("weight", "bias"), "encoders.6.linear": ("weight", "bias")}
    rows |= {f"encoders.6.rnn.rnns.{k}": rnn for k in range(2)}
    for block in (*(f"encoders.{i}.conv" for i in range(6)), *(f"decoders.{i}.deconv" for i in range(1, 6))):
        stem = block.rpartition(".")[0]
        rows |= {block: ("weight",), f"{stem}.norm": NORM, f"{stem}.activation": ("weight",)}
    names = [
        f"masker.{row}.{part}_module.{leaf}" for row, leaves in rows.items() for part in ("re", "im") for leaf in leaves
    ]
    names += [f"{end}.filterbank.{leaf}" for end in ("encoder", "decoder") for leaf in ("_filters", "torch_window")]
    assert sorted(state) == sorted(names)
    assert state["encoder.filterbank._filters"].shape == (514, 1, 400)
    assert state["masker.encoders.6.rnn.rnns.0.re_module.rnn.weight_ih_l0"].shape == (512, 512)
    assert state["masker.decoders.1.deconv.im_module.weight"].shape == (256, 128, 5, 2)
    assert state["masker.decoders.4.deconv.re_module.weight"].shape == (128, 32, 5, 2)
    assert state["masker.output_layer.0.im_module.weight"].shape == (32, 1, 5, 2)


def test_a_layer_looks_one_frame_ahead():
    """Output up to n needs the frames that n is in, which end before n + 24, and two more of 6 samples."""
    torch.manual_seed(0)
    model, wave = DCCRNet(**SMALL).eval(), torch.randn(1, 200)
    changed = torch.cat([wave[:, :120], torch.randn(1, 80)], dim=1)
    differs = (model(wave) - model(changed)).abs().flatten() > 1e-5
    first = int(differs.nonzero()[0])
    assert 120 - 24 - 2 * 6 < first < 120 - 24


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_src": 2}, "DCCRNet enhances one talker: n_src is 1; got 2"),
        ({"architecture": "DCCRN-E"}, "architecture: one of DCCRN-CL, mini; got 'DCCRN-E'"),
        ({"stft_n_filters": 36}, "stft_n_filters: a multiple of 8 for mini; got 36"),
    ],
)
def test_sizes_that_do_not_fit(change, message):
    with pytest.raises(ValueError, match=message):
        DCCRNet(**{**SMALL, **change})
