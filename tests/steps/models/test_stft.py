"""The transform against torch's, its inverse for every length, and what it says of sines and silence."""

import itertools

import pytest
import torch
from torch import nn

from steps.export.graph import agreement, export_graph
from steps.models.stft import Stft, magnitude, overlapped

SIZES = [(512, 256, 512), (512, 100, 400), (1200, 160, 400), (16, 3, 9), (15, 4, 9), (8, 1, 8), (2, 1, 2)]
WINDOWS = ["hann", "sqrt_hann"]


def noise(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


@pytest.mark.parametrize(("n_fft", "hop", "win"), SIZES)
@pytest.mark.parametrize("causal", [False, True], ids=["centred", "causal"])
@pytest.mark.parametrize("window", WINDOWS)
def test_what_goes_in_comes_out_at_every_length(n_fft, hop, win, window, causal):
    stft = Stft(n_fft, hop, win, window, causal)
    for samples in [*range(1, 24), 255, 256, 257, 399, 400, 401, 1601]:
        wave = noise(2, samples)
        real, imag = stft.analysis(wave)
        assert real.shape == imag.shape == (2, n_fft // 2 + 1, stft.frames(samples))
        torch.testing.assert_close(stft.synthesis(real, imag, samples), wave, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("n_fft", "hop", "win"), [size for size in SIZES if size[0] % 2 == 0])
@pytest.mark.parametrize("window", WINDOWS)
def test_centred_frames_are_those_of_torch(n_fft, hop, win, window):
    shape = torch.hann_window(win) if window == "hann" else torch.hann_window(win).sqrt()
    for samples in (1, 2, 500, 512, 801):
        wave = noise(2, samples)
        expected = torch.stft(wave, n_fft, hop, win, shape, center=True, pad_mode="constant", return_complex=True)
        real, imag = Stft(n_fft, hop, win, window).analysis(wave)
        assert real.shape[2] == expected.shape[2] + (samples % hop > 0)
        torch.testing.assert_close(real[..., : expected.shape[2]], expected.real, rtol=0, atol=1e-4)
        torch.testing.assert_close(imag[..., : expected.shape[2]], expected.imag, rtol=0, atol=1e-4)


def test_a_sine_lies_in_its_bin():
    """A cosine of amplitude 1 in bin b of a hann window has the window's sum over 2, and half of that beside it."""
    n_fft, b = 64, 9
    wave = torch.cos(2 * torch.pi * b * torch.arange(n_fft) / n_fft).unsqueeze(0)
    real, imag = Stft(n_fft, 32).spectra(wave)
    expected = torch.zeros(33)
    expected[[b - 1, b, b + 1]] = torch.tensor([-8.0, 16.0, -8.0])
    torch.testing.assert_close(real[0, :, 0], expected, rtol=0, atol=1e-4)
    torch.testing.assert_close(imag[0, :, 0], torch.zeros(33), rtol=0, atol=1e-4)


@pytest.mark.parametrize(("n_fft", "hop", "win"), [(512, 256, 512), (16, 3, 9)])
def test_a_causal_frame_needs_nothing_that_comes_later(n_fft, hop, win):
    """Frame k ends with sample (k + 1) hop - 1: what follows changes none before it."""
    stft = Stft(n_fft, hop, win, causal=True)
    wave = noise(1, 10 * hop)
    other = wave.clone()
    other[:, 4 * hop :] += 1.0
    for one, two in zip(stft.analysis(wave), stft.analysis(other), strict=True):
        assert torch.equal(one[..., :4], two[..., :4])
        assert not torch.allclose(one[..., 4], two[..., 4])


@pytest.mark.parametrize(("n_fft", "hop", "win"), [(512, 256, 512), (512, 100, 400)])
def test_frame_by_frame_is_the_same_as_all_at_once(n_fft, hop, win):
    """What a streaming model does: spectra of what has come, frames added up, hop samples final with each."""
    stft = Stft(n_fft, hop, win, "sqrt_hann", causal=True)
    wave = noise(2, 7 * hop)
    held, added, given = torch.zeros(2, win - hop), torch.zeros(2, win), []
    for chunk in wave.split(hop, dim=1):
        held = torch.cat([held, chunk], dim=1)
        added = added + stft.overlap_add(*stft.spectra(held))
        held = held[:, hop:]
        given.append(added[:, :hop])
        added = torch.cat([added[:, hop:], torch.zeros(2, hop)], dim=1)
    streamed = torch.cat(given, dim=1)[:, win - hop :]  # late by win - hop
    torch.testing.assert_close(streamed, wave[:, : streamed.shape[1]], rtol=0, atol=1e-5)


def test_a_changed_spectrum_gives_what_torch_gives():
    wave, (n_fft, hop) = noise(2, 1000), (64, 20)
    stft = Stft(n_fft, hop)
    real, imag = stft.analysis(wave)
    gain = torch.rand(real.shape, generator=torch.Generator().manual_seed(0))
    both = torch.complex(gain * real, gain * imag)
    expected = torch.istft(both, n_fft, hop, window=torch.hann_window(n_fft), center=True, length=1000)
    torch.testing.assert_close(stft.synthesis(gain * real, gain * imag, 1000), expected, rtol=0, atol=1e-5)


def test_windows_of_an_endless_row_add_up():
    shape = torch.hann_window(400, dtype=torch.float64)
    torch.testing.assert_close(overlapped(shape, 200), torch.ones(400, dtype=torch.float64))
    torch.testing.assert_close(overlapped(shape.square(), 100), torch.full((400,), 1.5, dtype=torch.float64))
    assert overlapped(torch.ones(5), 2).tolist() == [3.0, 2.0, 3.0, 2.0, 3.0]


def test_magnitudes_and_their_gradients_at_silence():
    parts = torch.tensor([[3.0, 0.0], [-4.0, 0.0]], requires_grad=True)
    found = magnitude(parts[0], parts[1])
    assert found.tolist() == pytest.approx([5.0, 1e-5])
    found.sum().backward()
    torch.testing.assert_close(parts.grad, torch.tensor([[0.6, 0.0], [-0.8, 0.0]]))


def test_autocast_changes_nothing():
    stft, wave = Stft(64, 16), noise(2, 333)
    expected = stft.analysis(wave)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = stft.analysis(wave)
        back = stft.synthesis(*found, 333)
    for ours, theirs in zip(expected, found, strict=True):
        assert torch.equal(ours, theirs)
    torch.testing.assert_close(back, wave, rtol=0, atol=1e-5)


class Halved(nn.Module):
    """Half of every spectrum, so that a graph has both directions in it."""

    def __init__(self):
        super().__init__()
        self.stft = Stft(16, 4, 12, causal=True)

    def forward(self, wave: torch.Tensor) -> torch.Tensor:
        real, imag = self.stft.analysis(wave)
        return self.stft.synthesis(real / 2, imag / 2, wave.shape[-1])


def test_it_exports_and_adds_no_weights_to_checkpoints(tmp_path):
    model = Halved().eval()
    assert list(model.state_dict()) == []
    export_graph(model, tmp_path / "m.onnx", {"wave": noise(2, 50)}, ["half"], {"wave": {0: "N", 1: "T"}}, {})
    cases = ({"wave": noise(n, samples)} for n, samples in itertools.product((1, 3), (1, 2, 7, 50, 333)))
    assert agreement(model, tmp_path / "m.onnx", cases).holds()


@pytest.mark.parametrize(("n_fft", "hop", "win"), [(16, 9, 16), (16, 0, 16), (16, 4, 20), (16, 1, 1)])
def test_sizes_without_an_inverse_are_refused(n_fft, hop, win):
    with pytest.raises(ValueError, match=f"1 <= hop <= win / 2 and win <= n_fft are needed; got hop={hop}, win={win}"):
        Stft(n_fft, hop, win)
    with pytest.raises(ValueError, match="the window is hann or sqrt_hann; got 'kaiser'"):
        Stft(16, 4, window="kaiser")
