"""VoiceFilter: the paper's sizes, any length, what would break it, and that it hears whom it is told."""

import math

import pytest
import torch

from steps.export.graph import agreement, export_graph
from steps.models.config import SeparatorConfig
from steps.models.separators import CONDITIONED, build_separator
from steps.models.voicefilter import VoiceFilter

SMALL = {
    "embedding_dim": 6,
    "n_fft": 64,
    "hop": 16,
    "win": 48,
    "channels": 4,
    "last_channels": 2,
    "dilations": [1, 2],
    "lstm_dim": 8,
    "fc_dim": 12,
}


def small(**changed) -> VoiceFilter:
    torch.manual_seed(0)
    return VoiceFilter(1, **{**SMALL, **changed})


def noise(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


def test_layers_are_those_of_table_1():
    with torch.device("meta"):
        state = VoiceFilter(1).state_dict()
    found = [tuple(value.shape) for name, value in state.items() if name.startswith("cnn") and value.dim() == 4]
    squares = [(64, 64, 5, 5)] * 5
    assert found == [(64, 1, 1, 7), (64, 64, 7, 1), *squares, (8, 64, 1, 1)]
    assert state["lstm.weight_ih_l0"].shape == (4 * 400, 8 * 601 + 256)
    assert state["lstm.weight_hh_l0_reverse"].shape == (4 * 400, 400)
    assert state["fc1.weight"].shape == (600, 800)
    assert state["fc2.weight"].shape == (601, 600)


@pytest.mark.parametrize(("bidirectional", "norm"), [(True, True), (False, True), (False, False)])
def test_parameters_by_the_closed_form(bidirectional, norm):
    with torch.device("meta"):
        model = VoiceFilter(1, bidirectional=bidirectional, norm=norm)
    convolutions = (7 * 64 + 64) + (7 * 64 * 64 + 64) + 5 * (25 * 64 * 64 + 64) + (64 * 8 + 8)
    norms = 2 * (7 * 64 + 8) if norm else 0
    directions = 1 + bidirectional
    lstm = directions * 4 * 400 * (8 * 601 + 256 + 400 + 2)
    dense = (directions * 400 * 600 + 600) + (600 * 601 + 601)
    assert sum(value.numel() for value in model.parameters()) == convolutions + norms + lstm + dense
    if bidirectional and norm:
        assert convolutions + norms + lstm + dense == 18_876_001


def test_a_frame_of_the_convolutions_sees_as_far_as_the_dilations_say():
    """3 of the layer along the frames, then 2 * (1 + 2 + 4 + 8 + 16); 3 + 5 * 2 bins."""
    model = small(dilations=(1, 2, 4, 8, 16), norm=False)
    spectrum = torch.rand(1, 1, 161, 33, requires_grad=True)
    for layer in model.cnn:
        torch.nn.init.uniform_(layer[0].weight, 0.1, 0.2)
    model.cnn(spectrum)[0, :, 80, 16].sum().backward()
    frames, bins = spectrum.grad[0, 0].nonzero().T
    assert (frames.min().item(), frames.max().item()) == (80 - 65, 80 + 65)
    assert (bins.min().item(), bins.max().item()) == (16 - 13, 16 + 13)


def test_a_mask_of_ones_gives_the_mixture():
    model = small().eval()
    torch.nn.init.zeros_(model.fc2.weight)
    torch.nn.init.constant_(model.fc2.bias, 50.0)
    for samples in (1, 15, 16, 17, 333):
        mixture = noise(2, samples)
        with torch.no_grad():
            found = model(mixture, noise(2, 6))
        torch.testing.assert_close(found, mixture.unsqueeze(1), rtol=0, atol=1e-5)


def test_the_embedding_says_whom_to_extract():
    """One mixture, two talkers asked for: two answers, and a loss of theirs reaches the embedding."""
    model = small().eval()
    mixture = noise(1, 400).expand(2, -1)
    enrolment = noise(2, 6).requires_grad_()
    found = model(mixture, enrolment)
    assert (found[0] - found[1]).abs().max() > 1e-4
    found[0].square().sum().backward()
    assert enrolment.grad[0].abs().min() > 0
    assert not enrolment.grad[1].any()
    with torch.no_grad():
        same = model(mixture, enrolment[:1].expand(2, -1))
    torch.testing.assert_close(same[0], same[1], rtol=0, atol=1e-6)


def test_it_learns_to_choose():
    """Two tones; which one is wanted, only the embedding tells."""
    model = small(embedding_dim=2, norm=False, compression=0.5)
    time = torch.arange(320) / 64
    tones = torch.stack([torch.sin(2 * math.pi * 8 * time), torch.sin(2 * math.pi * 20 * time)])
    mixture, wanted = tones.sum(0).expand(2, -1), torch.eye(2)
    optimiser = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(80):
        optimiser.zero_grad()
        loss = (model(mixture, wanted).squeeze(1) - tones).square().mean()
        loss.backward()
        optimiser.step()
    assert loss < 0.05  # half of the mixture, whoever is wanted, costs 0.25


def hard() -> dict[str, torch.Tensor]:
    samples = 200
    square = torch.sign(torch.sin(torch.arange(samples) / 3.0))
    return {
        "silence": torch.zeros(samples),
        "DC": torch.full((samples,), 0.5),
        "clipped": square,
        "half silent": torch.cat([torch.zeros(samples // 2), square[: samples // 2]]),
        "one sample": torch.zeros(1),
    }


@pytest.mark.parametrize("name", hard())
@pytest.mark.parametrize("autocast", [False, True], ids=["fp32", "bf16"])
@pytest.mark.parametrize("compression", [1.0, 0.3])
def test_hard_input_is_finite_there_and_back(name, autocast, compression):
    model = small(compression=compression)
    mixture = hard()[name].expand(2, -1).clone().requires_grad_()
    enrolment = noise(2, 6).requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        found = model(mixture, enrolment)
    assert found.shape == (2, 1, mixture.shape[1]) and found.dtype == torch.float32
    assert found.isfinite().all()
    (found - 1.0).square().sum().backward()
    for value in (mixture, enrolment, *model.parameters()):
        assert value.grad.isfinite().all()


def test_export_has_two_inputs_of_any_length(tmp_path):
    model = small(compression=0.3)
    model(noise(2, 600), noise(2, 6))  # so that the statistics of the norms are not those of a new model
    model.eval()
    axes = {"mixture": {0: "N", 1: "T"}, "enrolment": {0: "N"}}
    example = {"mixture": noise(2, 300), "enrolment": noise(2, 6)}
    export_graph(model, tmp_path / "m.onnx", example, ["talker"], axes, {})
    sizes = ((1, 1), (2, 2), (3, 15), (1, 16), (2, 301), (1, 1001))
    cases = ({"mixture": noise(n, samples), "enrolment": noise(n, 6)} for n, samples in sizes)
    assert agreement(model, tmp_path / "m.onnx", cases).holds()


def test_what_it_cannot_be_asked_is_said():
    with pytest.raises(ValueError, match="voicefilter extracts one talker, the one it is told; got 2 sources"):
        VoiceFilter(2)
    with pytest.raises(ValueError, match=r"model\.sizes\.compression is a power above 0 and up to 1; got 0"):
        VoiceFilter(1, compression=0)
    with pytest.raises(ValueError, match=r"embedding_dim is 6, the enrolments have 192 dimensions: set it"):
        small()(noise(1, 50), noise(1, 192))


def test_it_is_built_by_name():
    assert "voicefilter" in CONDITIONED
    model = build_separator(SeparatorConfig("voicefilter", dict(SMALL)), 1)
    assert model(noise(2, 77), noise(2, 6)).shape == (2, 1, 77)
