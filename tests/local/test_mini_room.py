"""Resampling, rooms and noise, against what they must be."""

import numpy as np
import pytest
from scipy.signal import resample_poly, welch

from local import mini_room


@pytest.mark.parametrize("length", [1000, 22050, 50001])
def test_resampling_agrees_with_a_polyphase_filter(length: int) -> None:
    time = np.arange(length) / 22050
    samples = np.hanning(length) * (np.sin(2 * np.pi * 440 * time) + 0.3 * np.sin(2 * np.pi * 6000 * time))
    expected = resample_poly(samples, 320, 441)
    result = mini_room.to_recording_rate(samples, 22050)
    assert result.shape == expected.shape
    np.testing.assert_allclose(result, expected, atol=3e-3)


def test_resampling_keeps_a_tone_and_removes_what_would_alias() -> None:
    time = np.arange(22050) / 22050
    window = np.hanning(22050)
    low = mini_room.to_recording_rate(window * np.sin(2 * np.pi * 1000 * time), 22050)
    expected = np.interp(np.arange(16000) / 16000, time, window)
    expected *= np.sin(2 * np.pi * 1000 * np.arange(16000) / 16000)
    np.testing.assert_allclose(low, expected, atol=1e-6)
    high = mini_room.to_recording_rate(window * np.sin(2 * np.pi * 9000 * time), 22050)
    assert np.abs(high).max() < 1e-6


def test_reverberation_has_its_decay_and_its_energy() -> None:
    rng = np.random.default_rng(0)
    impulse = np.zeros(16)
    impulse[0] = 1.0
    response = mini_room.reverberate(impulse, t60=0.4, direct_to_reverb=6.0, rng=rng)
    assert response[0] == pytest.approx(1.0)
    tail = response[16:]
    assert 10 * np.log10(np.sum(tail**2)) == pytest.approx(-6.0, abs=1e-6)
    decay = 10 * np.log10(np.cumsum(tail[::-1] ** 2)[::-1])  # Schroeder's integral
    below = [np.flatnonzero(decay < decay[0] - level)[0] / 16000 for level in (5, 25)]
    assert 3 * (below[1] - below[0]) == pytest.approx(0.4, rel=0.05)


@pytest.mark.parametrize(("slope", "fall"), [(0.0, 0.0), (1.0, -3.01), (2.0, -6.02)])
def test_coloured_noise_falls_as_it_should(slope: float, fall: float) -> None:
    noise = mini_room.coloured(16000 * 20, slope, np.random.default_rng(0))
    assert np.mean(noise**2) == pytest.approx(1.0)
    frequency, power = welch(noise, 16000, nperseg=4096)
    octaves = [10 * np.log10(power[(frequency >= f) & (frequency < 2 * f)].mean()) for f in (250, 500, 1000, 2000)]
    assert np.diff(octaves) == pytest.approx(np.full(3, fall), abs=0.4)


def test_hum_and_clicks() -> None:
    hum = mini_room.hum(16000, np.random.default_rng(0))
    spectrum = np.abs(np.fft.rfft(hum)) ** 2
    assert spectrum[50:401:50].sum() / spectrum.sum() > 0.999
    clicks = mini_room.clicks(16000 * 10, 1.0, np.random.default_rng(0))
    assert np.mean(clicks**2) == pytest.approx(1.0)
    assert 0.001 < np.mean(clicks != 0) < 0.15, "mostly nothing"
    assert mini_room.clicks(16000, 1e-6, np.random.default_rng(0)).any(), "one at least"


@pytest.mark.parametrize("snr", [0.0, 20.0])
def test_recording_has_its_ratio_and_level(snr: float) -> None:
    rng = np.random.default_rng(0)
    speech = np.concatenate([np.zeros(16000), 0.1 * np.sin(np.arange(32000) / 5)])
    noise = mini_room.coloured(48000, 1.0, rng)
    recorded = mini_room.record(speech, noise, snr, -26.0) / 32768
    assert 20 * np.log10(np.sqrt(np.mean(recorded**2))) == pytest.approx(-26.0, abs=0.01)
    power = [np.mean(recorded[part] ** 2) for part in (slice(0, 16000), slice(16000, 48000))]
    assert 10 * np.log10(power[1] / power[0] - 1) == pytest.approx(snr, abs=0.3)


def test_loud_samples_are_scaled_not_clipped() -> None:
    samples = mini_room.to_16_bit(np.array([0.0, 0.5, -2.0]))
    assert samples.dtype == np.int16
    assert samples.tolist() == [0, round(0.25 * 0.98 * 32767), -round(0.98 * 32767)]


def test_trim_removes_the_ends_only() -> None:
    samples = np.array([0, 1e-5, 1.0, 0, 0, -0.5, 1e-4, 0])
    assert mini_room.trim(samples).tolist() == [1.0, 0, 0, -0.5]


def test_lengths_for_the_transform() -> None:
    assert [mini_room._smooth(n) for n in (1, 3, 5, 6, 7, 17, 25, 1000)] == [2, 3, 6, 6, 8, 24, 32, 1024]
