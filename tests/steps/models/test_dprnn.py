"""DPRNN: published sizes, asteroid's names, and what its options change."""

import pytest
import torch
from torch import nn

from steps.models.dprnn import DPRNNBlock, DPRNNTasNet

CONV, NORM = ("weight", "bias"), ("gamma", "beta")
SMALL = {"bn_chan": 6, "hid_size": 5, "n_repeats": 1, "n_filters": 8, "chunk_size": 10}


def weights_of_rnn(both_ways: bool) -> list[str]:
    ends = ("", "_reverse") if both_ways else ("",)
    return [f"{kind}_{where}_l0{end}" for kind in CONV for where in ("ih", "hh") for end in ends]


def names_of_asteroid(repeats: int, both_ways: bool = True, rnns: tuple[str, ...] = ("rnn",)) -> list[str]:
    modules = {"bottleneck.0": NORM, "bottleneck.1": CONV, "first_out.0": CONV[:1], "first_out.1": CONV}
    modules |= {"net_out.0": CONV, "net_gate.0": CONV, "mask_net": CONV[:1]}
    for i in range(repeats):
        for path, both in (("intra", True), ("inter", both_ways)):
            modules |= {f"net.{i}.{path}_RNN.{rnn}": weights_of_rnn(both) for rnn in rnns}
            modules |= {f"net.{i}.{path}_linear": CONV, f"net.{i}.{path}_norm": NORM}
    ends = [f"{end}.filterbank._filters" for end in ("encoder", "decoder")]
    return ends + [f"masker.{module}.{leaf}" for module, leaves in modules.items() for leaf in leaves]


def test_published_sizes():
    with torch.device("meta"):
        assert sum(p.numel() for p in DPRNNTasNet(2).parameters()) == 3_652_865
        paper = sum(p.numel() for p in DPRNNTasNet(2, bn_chan=64).parameters())
    assert paper == 2_609_857  # "2.6M"


@pytest.mark.parametrize(
    ("sizes", "rnns"),
    [({}, ("rnn",)), ({"bidirectional": False}, ("rnn",)), ({"use_mulcat": True}, ("rnn1", "rnn2"))],
)
def test_parameter_names_are_asteroid_s(sizes, rnns):
    with torch.device("meta"):
        state = DPRNNTasNet(2, **sizes).state_dict()
    assert sorted(state) == sorted(names_of_asteroid(6, sizes.get("bidirectional", True), rnns))
    assert state["encoder.filterbank._filters"].shape == (64, 1, 16)
    assert state["masker.bottleneck.1.weight"].shape == (128, 64, 1)
    assert state["masker.net.5.intra_linear.weight"].shape == (128, 128 * (1 + len(rnns)) if len(rnns) > 1 else 256)
    assert state["masker.first_out.1.weight"].shape == (256, 128, 1, 1)
    assert state["masker.mask_net.weight"].shape == (64, 128, 1)


@pytest.mark.parametrize("kind", ["LSTM", "gru", "RNN"])
def test_a_block_without_projections_changes_nothing_and_one_way_does_not_look_ahead(kind):
    torch.manual_seed(0)
    block = DPRNNBlock(4, 3, "cLN", bidirectional=False, kind=kind, layers=1, dropout=0, mulcat=False).eval()
    chunks = torch.randn(1, 4, 5, 6, requires_grad=True)
    block(chunks)[0, :, 2, 3].square().sum().backward()
    seen = chunks.grad[0].abs().sum(0) > 0  # (P, R)
    assert seen[:, :4].all()
    assert not seen[:, 4:].any()
    nn.init.zeros_(block.intra_norm.gamma)
    nn.init.zeros_(block.inter_norm.gamma)
    assert torch.equal(block(chunks), chunks)


def test_masks_of_a_half_leave_half_of_what_the_filter_bank_gives_back():
    model = DPRNNTasNet(2, **SMALL).eval()
    nn.init.zeros_(model.masker.mask_net.weight)  # sigmoid(0)
    mixture = torch.randn(2, 120)  # frames of 16 every 8 samples cover it
    whole = model.decoder(model.encoder(mixture).unsqueeze(1))
    torch.testing.assert_close(model(mixture), 0.5 * whole.expand(-1, 2, -1))


def test_softmax_masks_add_up_to_one_and_one_mask_may_do_for_all_filters():
    masks = DPRNNTasNet(3, mask_act="softmax", **SMALL).masker(torch.randn(2, 8, 33))
    torch.testing.assert_close(masks.sum(1), torch.ones(2, 8, 33))
    assert DPRNNTasNet(3, out_chan=1, **SMALL).masker(torch.randn(2, 8, 33)).shape == (2, 3, 1, 33)
