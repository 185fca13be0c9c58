"""What holds for DPRNN and DPTNet alike: any length, finite at hard inputs, one graph for all lengths."""

import pytest
import torch

from steps.export.graph import agreement, export_graph
from steps.models.dprnn import DPRNNTasNet
from steps.models.dptnet import DPTNet
from steps.models.dual_path import along

TINY = {"n_filters": 8, "kernel_size": 6, "stride": 3, "chunk_size": 10, "n_repeats": 2}
MODELS = {
    "dprnn": lambda sources=2, **sizes: DPRNNTasNet(sources, **{**TINY, "bn_chan": 6, "hid_size": 5, **sizes}),
    "dptnet": lambda sources=2, **sizes: DPTNet(sources, **{**TINY, "n_heads": 2, "ff_hid": 5, **sizes}),
}
WAVE = torch.sin(torch.arange(203.0))
HARD = {
    "silence": torch.zeros(2, 203),
    "direct current": torch.full((2, 203), 0.9),
    "clipped": (100 * WAVE).clamp(-1, 1).expand(2, -1),
    "one sample": torch.full((1, 1), 0.5),
    "one silent sample": torch.zeros(1, 1),
}
both = pytest.mark.parametrize("name", list(MODELS))


@both
@pytest.mark.parametrize("sources", [1, 3])
def test_any_length_keeps_its_length(name, sources):
    torch.manual_seed(0)
    model = MODELS[name](sources)
    for samples in (1, 5, 6, 7, 9, 101, 400):
        output = model(torch.randn(2, samples))
        assert output.shape == (2, sources, samples)
        assert output.dtype == torch.float32


@both
def test_mixtures_of_a_batch_do_not_meet(name):
    torch.manual_seed(0)
    model, mixtures = MODELS[name]().eval(), torch.randn(3, 77)
    alone = torch.cat([model(mixture.unsqueeze(0)) for mixture in mixtures])
    torch.testing.assert_close(model(mixtures), alone, rtol=1e-4, atol=1e-6)


@both
@pytest.mark.parametrize("what", list(HARD))
@pytest.mark.parametrize("bfloat16", [False, True], ids=["float32", "bfloat16"])
def test_hard_inputs_leave_finite_gradients(name, what, bfloat16):
    torch.manual_seed(0)
    model = MODELS[name]().train()
    with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
        estimates = model(HARD[what])
    assert estimates.dtype == torch.float32
    assert estimates.isfinite().all()
    (estimates - torch.randn_like(estimates)).square().sum().backward()
    assert not [key for key, value in model.named_parameters() if value.grad is None or not value.grad.isfinite().all()]


@both
def test_bfloat16_says_about_the_same(name):
    torch.manual_seed(0)
    model, mixture = MODELS[name]().eval(), torch.randn(2, 200)
    expected = model(mixture)
    with torch.autocast("cpu", torch.bfloat16):
        found = model(mixture)
    assert 0 < (found - expected).norm() < 0.02 * expected.norm()


@both
def test_a_graph_agrees_at_any_length(name, tmp_path):
    torch.manual_seed(0)
    model = MODELS[name](n_repeats=1, mask_act="sigmoid").eval()  # some masks of relu are all 0, and have no cosine
    axes = {"mixture": {0: "N", 1: "T"}}
    export_graph(model, tmp_path / "g.onnx", {"mixture": torch.randn(2, 300)}, ["sources"], axes, {})
    cases = [{"mixture": torch.randn(n, samples)} for n, samples in [(1, 1), (3, 5), (1, 7), (2, 331), (1, 1001)]]
    assert agreement(model, tmp_path / "g.onnx", cases).relative < 1e-4


def test_along_runs_over_one_axis_and_puts_it_back():
    chunks = torch.randn(2, 3, 4, 5)
    assert torch.equal(along(lambda x: x.cumsum(1), chunks, within=True), chunks.cumsum(2))
    assert torch.equal(along(lambda x: x.cumsum(1), chunks, within=False), chunks.cumsum(3))
    seen = []
    along(lambda x: seen.append(x.shape) or x, chunks, within=True)
    along(lambda x: seen.append(x.shape) or x, chunks, within=False)
    assert seen == [(2 * 5, 4, 3), (2 * 4, 5, 3)]


@both
@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"hop_size": 11}, r"hop_size is from 1 to chunk_size \(10\)"),
        ({"stride": 7}, r"model\.sizes\.stride is from 1 to kernel_size \(6\)"),
        ({"in_chan": 9}, r"model\.sizes\.in_chan is n_filters \(8\)"),
        ({"norm_type": "cgLN"}, r"model\.sizes\.norm_type: dual-path models take gLN or cLN; got 'cgLN'"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(name, sizes, message):
    with pytest.raises(ValueError, match=message):
        MODELS[name](**sizes)


def filled(model: torch.nn.Module) -> torch.nn.Module:
    """The model with parameters by formula, in the order of their names: 0.4 cos(0.7 k + i)."""
    with torch.no_grad():
        for i, (_, value) in enumerate(sorted(model.named_parameters())):
            value.copy_((torch.arange(value.numel(), dtype=torch.float64) * 0.7 + i).cos().mul(0.4).view_as(value))
    return model.eval()


ASTEROID = {  # what asteroid 0.7.0 computes with the same weights: samples 10, 28, 46, 64 of both sources
    "dprnn": [[0.217707, -0.074124, -0.355565, -0.587117], [0.215813, -0.075512, -0.356308, -0.587082]],
    "dptnet": [[0.023614, 0.011735, 0.0, -0.011042], [0.051478, 0.018549, -0.02986, -0.072175]],
}


@both
def test_outputs_are_asteroid_s(name):
    sizes = {"n_filters": 6, "kernel_size": 4, "stride": 2, "chunk_size": 6}
    sizes |= {"bn_chan": 4, "hid_size": 3} if name == "dprnn" else {"n_heads": 2, "ff_hid": 3}
    mixture = torch.sin(torch.arange(83, dtype=torch.float64) * 0.37).float()
    estimates = filled(MODELS[name](**sizes))(mixture.unsqueeze(0))
    torch.testing.assert_close(estimates[0, :, 10:82:18], torch.tensor(ASTEROID[name]), rtol=1e-4, atol=2e-6)
