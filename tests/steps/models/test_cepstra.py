"""Cepstra against explicit loops over frames; padding and constant offsets without influence."""

import math

import pytest
import torch

from steps.models.cepstra import dct_matrix, delta_kernels, short_time_centred, speech_mask, with_deltas


@pytest.fixture
def log_mel():
    """(2, 40, 8): pauses of 10 frames far below the speech."""
    x = torch.randn(2, 40, 8, generator=torch.Generator().manual_seed(0))
    x[0, 5:15] -= 8.0
    x[1, :10] -= 8.0
    return x


def test_dct_is_the_definition_and_a_rotation():
    table = dct_matrix(6, 6).double()
    for k in range(6):
        for n in range(6):
            scale = math.sqrt((1 if k == 0 else 2) / 6)
            assert table[n, k].item() == pytest.approx(scale * math.cos(math.pi * k * (n + 0.5) / 6), abs=1e-6)
    torch.testing.assert_close(table.T @ table, torch.eye(6).double(), atol=1e-6, rtol=0)
    with pytest.raises(ValueError, match=r"24 cepstra of 20 mel bins: lower ivector\.num_ceps"):
        dct_matrix(20, 24)


def test_differences_are_the_slope_and_the_curvature():
    """Of a t^2 + b t + c the slope is 2 a t + b and its slope 2 a, away from the ends."""
    t = torch.arange(40.0)
    x = (0.5 * t.square() + 2.0 * t + 1.0).view(1, 40, 1)
    out = with_deltas(x, None, 3)[0, 6:-6]
    expected = torch.stack([x[0, 6:-6, 0], t[6:-6] + 2.0, torch.ones(28)], dim=1)
    torch.testing.assert_close(out, expected, atol=1e-2, rtol=0)


def test_differences_at_the_ends_by_a_loop():
    x, window = torch.randn(1, 9, 2), 2
    kernels = delta_kernels(window)
    for t in range(9):
        for order in range(3):
            total = sum(kernels[order, j + 4] * x[0, min(max(t + j, 0), 8)] for j in range(-4, 5))
            torch.testing.assert_close(with_deltas(x, None, window)[0, t, 2 * order : 2 * order + 2], total)


@pytest.mark.parametrize("frames", [1, 4, 7, 8, 30])
def test_short_time_mean_by_a_loop(frames):
    x, window = torch.randn(1, frames, 3), 7
    out = short_time_centred(x, None, window)
    for t in range(frames):
        start = max(min(max(t - window // 2, 0), frames - window), 0)
        torch.testing.assert_close(out[0, t], x[0, t] - x[0, start : start + window].mean(dim=0))


def test_pauses_are_left_out(log_mel):
    mask = speech_mask(log_mel, None, 2.0, 0)
    assert not mask[0, 5:15].any() and not mask[1, :10].any()
    assert mask[0, :5].all() and mask[0, 15:].all() and mask[1, 10:].all()


def test_context_removes_single_frames(log_mel):
    log_mel[0, 10] += 8.0  # a click in a pause
    assert speech_mask(log_mel, None, 2.0, 0)[0, 10]
    assert not speech_mask(log_mel, None, 2.0, 2)[0, 10]


@pytest.mark.parametrize("below_mean", [0.0, 2.0])
@pytest.mark.parametrize("value", [math.log(torch.finfo(torch.float32).eps), 0.1])
def test_silence_and_single_frames_are_kept_whole(value, below_mean):
    assert speech_mask(torch.full((1, 9, 8), value), None, below_mean, 2).all()
    assert speech_mask(torch.full((1, 1, 8), value), None, below_mean, 2).all()


def test_no_speech_at_all_keeps_every_frame():
    """Loud and soft frames by turns: no neighbourhood has 60 % of loud ones."""
    x = torch.tensor([0.0, 10.0, 0.0, 0.0, 10.0, 0.0]).view(1, 6, 1)
    assert speech_mask(x, None, 0.0, 2).all()


def test_padding_has_no_influence(log_mel):
    lengths = torch.tensor([23, 40])
    padded = log_mel.clone()
    padded[0, 23:] = 99.0
    for function in (
        lambda x, n: with_deltas(x, n, 3),
        lambda x, n: short_time_centred(x, n, 15),
        lambda x, n: speech_mask(x, n, 2.0, 2),
    ):
        together, alone = function(padded, lengths), function(log_mel[:1, :23], None)
        torch.testing.assert_close(together[:1, :23], alone)
        torch.testing.assert_close(together[1:], function(log_mel[1:], None))
        assert not together[0, 23:].any()


def test_constants_of_the_mel_bins_have_no_influence(log_mel):
    moved = log_mel + torch.linspace(-5, 5, 8)
    assert torch.equal(speech_mask(moved, None, 2.0, 2), speech_mask(log_mel, None, 2.0, 2))
    dct = dct_matrix(8, 4)
    before, after = (short_time_centred(with_deltas(x @ dct, None, 3), None, 15) for x in (log_mel, moved))
    torch.testing.assert_close(after, before, atol=1e-5, rtol=0)
