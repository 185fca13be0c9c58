"""Networks on causal spectra in chunks: the whole file's samples whatever the chunks, no later than they say."""

import itertools

import pytest
import torch
from torch import Tensor, nn

from steps.models.fast_enhancer import FastEnhancer
from steps.models.gtcrn import GTCRN
from steps.models.streaming_stft import CausalStftNetwork, StftStreamer, advance, carried

SMALL = {"n_fft": 32, "hop": 16, "channels": 8}
SIZES = {
    "gtcrn": (GTCRN, {**SMALL, "erb_subband_1": 7, "erb_subband_2": 6}),
    "fast_enhancer": (FastEnhancer, {**SMALL, "block_channels": 8, "places": 3, "blocks": 2, "heads": 2}),
    "third": (FastEnhancer, {"n_fft": 48, "hop": 16, "channels": 4, "block_channels": 4, "places": 2, "heads": 2}),
}


def small(name: str) -> CausalStftNetwork:
    """A network whose norms and mask do something."""
    torch.manual_seed(0)
    kind, sizes = SIZES[name]
    model = kind(1, **sizes).eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.3)
            module.running_var.uniform_(0.3, 1.5)
    return model


def streamed(streamer: StftStreamer, wave: Tensor, sizes: tuple[int, ...]) -> Tensor:
    """(N, T) in chunks of `sizes` in turn, and what flush gives, (N, T)."""
    bounds = [0, *itertools.takewhile(lambda end: end < wave.shape[1], itertools.accumulate(itertools.cycle(sizes)))]
    pieces = [wave[:, start:end] for start, end in itertools.pairwise([*bounds, wave.shape[1]])]
    return torch.cat([*map(streamer, pieces), streamer.flush()], dim=1)


@pytest.fixture
def wave() -> Tensor:
    """(2, 777): silence, then noise of another level in each row."""
    sound = torch.randn(2, 777, generator=torch.Generator().manual_seed(1)) * torch.tensor([[0.3], [0.01]])
    sound[:, :200] = 0.0
    return sound


@pytest.mark.parametrize("name", SIZES)
@torch.no_grad()
def test_stream_is_the_whole_file(name, wave):
    model = small(name)
    expected = model(wave)[:, 0]
    assert (expected - wave).abs().max() > 0.01  # it is no identity
    streamer = model.streamer()
    first = streamed(streamer, wave, (31,))
    for sizes in [(31,), (1, 7, 0, 160), (777,), (16,), (5, 320)]:
        found = streamed(streamer, wave, sizes)
        assert found.shape == wave.shape
        assert (found - expected).abs().max() < 1e-4 * expected.abs().max()
        assert streamer.state is None
    assert torch.equal(streamed(streamer, wave, (31,)), first)  # used before, and yet the same bits
    for samples in (1, 15, 16, 17, 33):
        assert (
            streamed(streamer, wave[:, 300 : 300 + samples], (4,)) - model(wave[:, 300 : 300 + samples])[:, 0]
        ).abs().max() < 1e-5


@torch.no_grad()
def test_more_frames_than_go_at_once():
    model, wave = small("fast_enhancer"), torch.randn(1, 16 * 150 + 3)
    assert (streamed(model.streamer(), wave, (5000,)) - model(wave)[:, 0]).abs().max() < 1e-4


@pytest.mark.parametrize("name", SIZES)
@torch.no_grad()
def test_latency_is_kept_and_reached(name, wave):
    """Sample n is out when n + latency are in, and some sample is not out before; later samples change none of it."""
    model = small(name)
    streamer, given, behind = model.streamer(), 0, []
    win, hop = model.stft.win, model.stft.hop
    for taken in range(1, 200):
        behind.append(taken - given)
        given += streamer(wave[:, taken - 1 : taken]).shape[1]
        assert given >= taken - streamer.latency_samples + 1
    assert max(behind) == streamer.latency_samples == win == streamer.lookahead_samples + streamer.buffer_samples
    changed = wave.clone()
    changed[:, 480:] += 1.0  # a hop's edge
    difference = (model(changed) - model(wave)).abs().amax(dim=(0, 1))
    assert difference[: 480 - win + hop].max() == 0.0
    assert difference[480 - win + hop : 480].max() > 0.0


def test_latency_in_milliseconds():
    assert GTCRN().streamer().latency_ms(16000) == (16.0, 16.0)
    assert FastEnhancer(1, n_fft=320, hop=160).streamer().latency_ms(16000) == (10.0, 10.0)


def test_nothing_empty_chunks_and_wrong_ones():
    streamer = small("gtcrn").streamer()
    assert streamer.flush().shape == (1, 0)
    assert streamer(torch.zeros(2, 0)).shape == streamer.flush().shape == (2, 0)
    with pytest.raises(ValueError, match=r"\(N, t\)"):
        streamer(torch.zeros(5))
    streamer(torch.zeros(2, 5))
    with pytest.raises(ValueError, match="N=2"):
        streamer(torch.zeros(1, 5))
    assert streamer.flush().shape == (2, 5)


@torch.no_grad()
def test_state_is_all_there_is(wave):
    """Two streams in turns through one network give what each alone does."""
    model, alone = small("gtcrn"), []
    for row in (0, 1):
        streamer = model.streamer()
        alone.append(streamer(wave[row : row + 1, 160:480]))
    streamers = [model.streamer(), model.streamer()]
    for streamer in streamers:
        streamer(wave[:1, :0])
    states, parts = [streamer.state for streamer in streamers], ([], [])
    for place in range(160, 480, 16):
        for row in (0, 1):
            output, states[row] = advance(model, states[row], wave[row : row + 1, place : place + 16])
            parts[row].append(output)
    for row in (0, 1):
        assert torch.allclose(torch.cat(parts[row], dim=1)[:, model.stft.before :], alone[row], atol=1e-6)


@torch.no_grad()
def test_gru_by_frames_is_the_gru():
    gru, x, state = nn.GRU(3, 5), torch.randn(7, 2, 3), torch.randn(1, 2, 5)
    expected, last = gru(x, state)
    found, after = carried(gru, x, state)
    assert torch.equal(found, expected)
    assert torch.equal(after, last)
    for index in range(7):
        y, state = carried(gru, x[index : index + 1], state)
        assert torch.allclose(y[0], expected[index], atol=1e-6)
    assert torch.allclose(state, last, atol=1e-6)
