"""Demucs: published counts and names, the resampler against its definition, lengths, levels, hard input, ONNX."""

import pytest
import torch
import torch.nn.functional as F

from steps.export.graph import agreement, export_graph
from steps.models.config import SeparatorConfig
from steps.models.demucs import Demucs, Resampler, interpolator
from steps.models.separators import build_separator

TINY = {"hidden": 4, "depth": 3, "zeros": 8}
RATE = 16000


def tiny(**sizes) -> Demucs:
    torch.manual_seed(0)
    return Demucs(1, **{**TINY, **sizes}).eval()


@pytest.mark.parametrize(
    ("sizes", "parameters"),
    [
        ({"hidden": 16}, 2_101_153),
        ({}, 18_867_937),
        ({"hidden": 64}, 33_533_569),
        ({"hidden": 64, "stride": 2, "resample": 2, "causal": False}, 60_813_953),
    ],
)
def test_published_sizes(sizes, parameters):
    with torch.device("meta"):
        model = Demucs(1, **sizes)
    assert sum(p.numel() for p in model.parameters()) == parameters


def test_published_names_and_shapes():
    """As in the state_dicts of denoiser, by which they load; the decoder begins with the narrowest layer in time."""
    widths = [1, 6, 12, 24]
    expected = {}
    for layer in range(3):
        inner, outer = widths[layer + 1], widths[layer]
        for side, index, shape in (("encoder", layer, (inner, outer, 8)), ("decoder", 2 - layer, (inner, outer, 8))):
            first, last = (0, 2) if side == "encoder" else (2, 0)
            expected[f"{side}.{index}.{first}.weight"] = shape
            expected[f"{side}.{index}.{first}.bias"] = (inner if side == "encoder" else outer,)
            expected[f"{side}.{index}.{last}.weight"] = (2 * inner, inner, 1)
            expected[f"{side}.{index}.{last}.bias"] = (2 * inner,)
    for layer in range(2):
        expected |= {f"lstm.lstm.weight_{way}_l{layer}": (96, 24) for way in ("ih", "hh")}
        expected |= {f"lstm.lstm.bias_{way}_l{layer}": (96,) for way in ("ih", "hh")}
    found = {name: tuple(value.shape) for name, value in Demucs(1, hidden=6, depth=3).state_dict().items()}
    assert found == expected
    assert len(Demucs(1, hidden=2).state_dict()) == 48
    both = Demucs(1, hidden=2, causal=False).state_dict()
    assert {"lstm.lstm.weight_ih_l1_reverse", "lstm.linear.weight", "lstm.linear.bias"} <= both.keys()


def test_widths_stop_growing():
    model = Demucs(1, hidden=4, depth=4, growth=3, max_hidden=20, glu=False)
    assert [layer[0].out_channels for layer in model.encoder] == [4, 12, 20, 20]
    assert [layer[2].out_channels for layer in model.encoder] == [4, 12, 20, 20]


def test_rescaling_draws_deviations_to_the_reference():
    torch.manual_seed(0)
    plain = Demucs(1, hidden=8, rescale=0)
    torch.manual_seed(0)
    scaled = Demucs(1, hidden=8, rescale=0.1)
    before, after = (model.encoder[1][0].weight for model in (plain, scaled))
    expected = (before.std(correction=0) * 0.1).sqrt()  # w / sqrt(std / a) has the deviation sqrt(std a)
    assert after.std(correction=0).item() == pytest.approx(expected.item(), rel=1e-5)
    assert torch.equal(plain.lstm.lstm.weight_hh_l0, scaled.lstm.lstm.weight_hh_l0)


def by_two(wave: torch.Tensor, zeros: int) -> torch.Tensor:
    """(T,) float64 -> (2 T,): each sample, then the sum of its neighbours under the windowed sinc at the half step."""
    offsets = torch.arange(-zeros, zeros, dtype=torch.float64) + 0.5
    taps = torch.sinc(offsets) * (0.5 + 0.5 * torch.cos(torch.pi * offsets / zeros))
    between = F.conv1d(F.pad(wave, (zeros - 1, zeros))[None, None], taps[None, None])[0, 0]
    return torch.stack([wave, between], dim=1).flatten()


@pytest.mark.parametrize("factor", [2, 4])
def test_upsampling_is_the_windowed_sinc(factor):
    torch.manual_seed(0)
    resampler, wave = Resampler(factor, 56), torch.randn(1, 300)
    expected = by_two(wave[0].double(), 56)
    if factor == 4:
        expected = by_two(expected, 56)
    found = resampler.up(F.pad(wave, (resampler.margin, resampler.margin)))[0]
    assert len(found) == factor * 300
    inner = slice(factor * 56, -factor * 56)  # a cascade cuts off what by 2 gives before the first and after the last
    assert torch.allclose(found[inner].double(), expected[inner], atol=2e-6)
    assert torch.equal(found[::factor], wave[0])


@pytest.mark.parametrize("factor", [2, 4])
def test_downsampling_is_the_adjoint(factor):
    """<down u, x> = <u, up x> / factor: the same filter, which has linear phase."""
    torch.manual_seed(0)
    resampler = Resampler(factor, 8)
    margin, wave, fine = resampler.margin, torch.randn(1, 100), torch.randn(1, 100 * factor)
    down = resampler.down(F.pad(fine, (factor * margin, factor * margin)))
    up = resampler.up(F.pad(wave, (margin, margin)))
    assert (down * wave).sum().item() == pytest.approx((fine * up).sum().item() / factor, rel=1e-4)
    taps = interpolator(factor, 8)
    assert torch.allclose(taps, taps.flip(0), atol=1e-15)
    assert taps.sum().item() == pytest.approx(factor, rel=2e-3)


def test_there_and_back_keeps_speech():
    """A tone of 3 kHz comes back within rounding; what lies above half the rate does not come down."""
    resampler = Resampler(4, 56)
    wave = torch.sin(2 * torch.pi * 3000 / RATE * torch.arange(4000.0)).unsqueeze(0)
    fine = resampler.up(F.pad(wave, (84, 84)))
    back = resampler.down(F.pad(fine, (336, 336)))
    assert (back - wave)[:, 200:-200].abs().max() < 1e-5
    high = torch.sin(2 * torch.pi * 12000 / (4 * RATE) * torch.arange(16000.0)).unsqueeze(0)
    assert resampler.down(F.pad(high, (336, 336)))[:, 200:-200].abs().max() < 1e-3


@pytest.mark.parametrize("sizes", [{}, {"resample": 1}, {"resample": 2, "stride": 2, "causal": False}])
@pytest.mark.parametrize("samples", [1, 2, 41, 42, 43, 500, 1001])
def test_every_length(sizes, samples):
    assert tiny(**sizes)(torch.randn(2, samples)).shape == (2, 1, samples)


def test_padding_is_to_whole_frames():
    """Frames of 597 samples every 256 at the published sizes: 16 ms, of which the paper speaks."""
    geometry = Demucs(1, hidden=2).geometry
    assert (geometry.span / 4, geometry.hop) == (597, 256)
    assert [int(geometry.frames(t)) for t in (1, 597, 598, 853, 854)] == [1, 1, 2, 2, 3]


def test_causal_output_does_not_know_what_comes_later():
    model, wave = tiny(), torch.randn(1, 600)
    later = wave.clone()
    later[:, 300:] += 1.0
    change = (model(wave) - model(later)).abs()[0, 0]
    first = int((change > 1e-6).nonzero()[0])
    assert 300 - model.geometry.lookahead - model.geometry.hop <= first < 300


@pytest.mark.parametrize("normalize", [True, "causal", False])
@torch.no_grad()
def test_level_of_the_input(normalize):
    """With normalisation a louder file gives the same, louder, but for the floor."""
    model = tiny(normalize=normalize, floor=0.0 if normalize else 1e-3)
    wave = torch.randn(1, 700)
    quiet, loud = model(wave), model(100 * wave)
    same = torch.allclose(loud, 100 * quiet, rtol=1e-3, atol=1e-4 * float(loud.abs().max()))
    assert same == (normalize is not False)
    assert model.causal == (normalize is not True)


def test_causal_level_by_hand():
    model = tiny(normalize="causal")  # a hop of 16 samples
    prefix, wave = model.geometry.prefix(), torch.randn(1, 50)
    first = model.geometry.hop - prefix
    level = model.level(wave)
    for end in (first, first + model.geometry.hop):
        assert level[0, end - 1].item() == pytest.approx(wave[0, :end].square().mean().sqrt().item(), rel=1e-5)
    assert (level[0, :first] == level[0, 0]).all()


@pytest.mark.parametrize("normalize", [False, True, "causal"])
@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize("kind", ["silence", "dc", "square", "one"])
def test_hard_input_stays_finite(normalize, bf16, kind):
    square = torch.sign(torch.sin(0.3 * torch.arange(400.0)))
    waves = {"silence": torch.zeros(400), "dc": torch.ones(400), "square": square, "one": torch.ones(1)}
    model = tiny(normalize=normalize).train()
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        estimate = model(waves[kind].repeat(2, 1))
    assert estimate.dtype == torch.float32
    estimate.square().sum().backward()
    assert estimate.isfinite().all()
    assert all(p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"n_src": 2}, "one output"),
        ({"chin": 2}, "one input"),
        ({"resample": 3}, "1, 2 or 4"),
        ({"zeros": 7}, "even"),
        ({"kernel_size": 7}, "times its stride"),
        ({"kernel_size": 4}, "times its stride"),
        ({"stride": 2, "resample": 4}, "must divide"),
        ({"stride": 3, "kernel_size": 6}, "multiple of resample"),
        ({"normalize": "all"}, "false, true or causal"),
        ({"normalize": "causal", "causal": False}, "causal networks"),
    ],
)
def test_sizes_that_do_not_fit(sizes, message):
    with pytest.raises(ValueError, match=message):
        Demucs(**{"n_src": 1, **TINY, **sizes})


def test_built_by_name():
    model = build_separator(SeparatorConfig("demucs", {**TINY, "normalize": "causal"}), 1)
    assert isinstance(model, Demucs) and model.causal and model.normalize == "causal"


@pytest.mark.parametrize("sizes", [{}, {"normalize": "causal", "resample": 2, "stride": 2}, {"causal": False}])
def test_graph_agrees_at_every_length(tmp_path, sizes):
    model, file = tiny(**sizes), tmp_path / "demucs.onnx"
    axes = {"mixture": {0: "N", 1: "T"}}
    export_graph(model, file, {"mixture": torch.randn(2, 800)}, ["estimate"], axes, {})
    cases = [{"mixture": torch.randn(1 + n % 2, n)} for n in (1, 7, 42, 43, 1003, 4000)]
    assert agreement(model, file, cases).holds()
