"""Streaming Demucs: the whole file's samples whatever the chunks, at its latency and no later, again and again."""

import itertools

import pytest
import torch
from torch import Tensor

from steps.models.demucs import Demucs
from steps.models.streaming_demucs import DemucsState, DemucsStreamer, start, step

TINY = {"hidden": 4, "depth": 3, "zeros": 8}
KINDS = [
    {},
    {"normalize": "causal"},
    {"resample": 1},
    {"resample": 2, "stride": 2, "normalize": "causal"},
    {"kernel_size": 12, "glu": False, "growth": 1.5},
]


def tiny(**sizes) -> Demucs:
    torch.manual_seed(0)
    return Demucs(1, **{**TINY, **sizes}).eval()


def streamed(streamer: DemucsStreamer, wave: Tensor, sizes: tuple[int, ...]) -> Tensor:
    """(N, T) through chunks of `sizes` in turn, and what flush gives."""
    given, place = [], 0
    for size in itertools.cycle(sizes):
        given.append(streamer(wave[:, place : place + size]))
        place += size
        if place >= wave.shape[1]:
            break
    return torch.cat([*given, streamer.flush()], dim=1)


@pytest.fixture
def wave() -> Tensor:
    """(2, 1500): silence, then noise of another level in each row."""
    torch.manual_seed(1)
    sound = torch.randn(2, 1500) * torch.tensor([[0.5], [0.01]])
    sound[:, :400] = 0.0
    return sound


@pytest.mark.parametrize("sizes", KINDS, ids=str)
@pytest.mark.parametrize("chunks", [(1,), (37, 1, 113), (160,), (5000,)], ids=str)
@torch.no_grad()
def test_streaming_is_the_whole_file(sizes, chunks, wave):
    model = tiny(**sizes)
    if chunks == (1,):
        wave = wave[:, 300:600]
    expected = model(wave)[:, 0]
    found = streamed(model.streamer(), wave, chunks)
    assert found.shape == expected.shape
    assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()


@pytest.mark.parametrize("samples", [1, 2, 15, 16, 17, 41, 42, 43, 58, 59, 100, 333])
@torch.no_grad()
def test_every_end(samples, wave):
    """The last frame reaches beyond the end, and what it adds there is not what zeros would add."""
    model, sound = tiny(), wave[:, 400 : 400 + samples]
    assert torch.allclose(streamed(model.streamer(), sound, (29,)), model(sound)[:, 0], atol=1e-6)


@torch.no_grad()
def test_published_size_agrees(wave):
    model = Demucs(1, hidden=2).eval()
    assert torch.allclose(streamed(model.streamer(), wave, (331,)), model(wave)[:, 0], atol=1e-6)


@torch.no_grad()
def test_a_used_streamer_gives_the_same_bytes(wave):
    streamer = tiny(normalize="causal").streamer()
    first = streamed(streamer, wave, (37,))
    streamer(wave[:, ::2])
    streamer.reset()
    assert torch.equal(streamed(streamer, wave, (37,)), first)
    fresh = tiny(normalize="causal").streamer()
    assert torch.equal(streamed(streamer, wave[:1], (37,)), streamed(fresh, wave[:1], (37,)))


@pytest.mark.parametrize("sizes", KINDS, ids=str)
@torch.no_grad()
def test_latency_is_kept_and_reached(sizes, wave):
    """Sample n comes out with sample n + latency at the latest (both counted from 1 on), and some not before."""
    streamer, given, behind = tiny(**sizes).streamer(), 0, []
    for taken in range(1, 400):
        behind.append(taken - given)
        given += streamer(wave[:, taken - 1 : taken]).shape[1]
    assert max(behind) == streamer.latency_samples


@pytest.mark.parametrize("resample", [1, 4])
@torch.no_grad()
def test_latency_is_what_an_output_looks_ahead(resample):
    """The one that waits longest sees all samples that there are by then, but for the sincs' ends, lost in rounding."""
    model, wave = tiny(hidden=16, resample=resample), torch.randn(1, 600)
    reach = []
    for place in range(300, 300 + model.geometry.hop):
        later = wave.clone()
        later[:, place] += 10.0
        change = (model(later) - model(wave))[0, 0].abs()
        reach.append(1 + place - int((change > 0).nonzero()[0]))
    latency = model.streamer().latency_samples
    assert max(reach) <= latency
    assert max(reach) == latency or resample > 1


def test_latency_in_milliseconds():
    streamer = Demucs(1, hidden=2).streamer()
    assert (streamer.lookahead_samples, streamer.buffer_samples, streamer.latency_samples) == (509, 256, 765)
    assert streamer.latency_ms(16000) == (31.8125, 16.0)
    assert Demucs(1, hidden=2, zeros=8).streamer().latency_samples == 621  # under the paper's 40 ms


def test_nothing_and_empty_chunks():
    streamer = tiny().streamer()
    assert streamer.flush().shape == (1, 0)
    assert streamer(torch.zeros(2, 0)).shape == (2, 0)
    assert streamer.flush().shape == (2, 0)
    with pytest.raises(ValueError, match="N=2 as before"):
        streamer(torch.zeros(2, 5))
        streamer(torch.zeros(1, 5))
    with pytest.raises(ValueError, match=r"\(N, t\)"):
        tiny().streamer()(torch.zeros(5))


@pytest.mark.parametrize("sizes", [{"causal": False}, {"normalize": True}])
def test_what_looks_at_the_whole_file_is_refused(sizes):
    model = tiny(**sizes)
    assert not model.causal
    with pytest.raises(ValueError, match="normalize=causal"):
        model.streamer()


@torch.no_grad()
def test_state_is_all_there_is(wave):
    """Two streams in turns through one network, each with its state only, taken apart to tensors and put together."""
    model = tiny(normalize="causal")
    hop, endless = model.geometry.hop, torch.tensor([2**40])
    states = [start(model, 1), start(model, 1)]
    given: list[list[Tensor]] = [[], []]
    for place in range(0, 20 * hop, hop):
        for row in range(2):
            chunk = wave[row : row + 1, 380 + place : 380 + place + hop]
            output, state = step(model, states[row], chunk, endless)
            states[row] = start(model, 1).filled(state.tensors())
            given[row].append(output)
    alone = model.streamer()
    streamed_alone = [step_all(model, wave[row : row + 1, 380 : 380 + 20 * hop]) for row in range(2)]
    assert alone.state is None
    for row in range(2):
        assert torch.equal(torch.cat(given[row], dim=1), streamed_alone[row])


def step_all(model: Demucs, wave: Tensor) -> Tensor:
    """(1, T) in single hops -> (1, T)"""
    state: DemucsState = start(model, 1)
    given = []
    for chunk in wave.split(model.geometry.hop, dim=1):
        output, state = step(model, state, chunk, torch.tensor([2**40]))
        given.append(output)
    return torch.cat(given, dim=1)
