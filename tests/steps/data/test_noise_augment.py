"""More noises out of few: as loud as planned, and changed in the way that is asked for."""

import random

import numpy as np
import pytest

from steps.data.mixture_config import MixtureDataConfig
from steps.data.noise_augment import LAYER_DB, NoiseAugmenter, at_power, equalised

RATE, SAMPLES = 8000, 4000


def white(samples: int = 3 * SAMPLES, seed: int = 0) -> np.ndarray:
    return (0.1 * np.random.default_rng(seed).standard_normal(samples)).astype(np.float32)


def nothing():
    raise AssertionError("no other noise is asked for")


def power(wave: np.ndarray) -> float:
    return float(np.mean(np.square(wave, dtype=np.float64)))


@pytest.mark.parametrize(
    "options",
    [{"noise_speeds": [0.5]}, {"noise_speeds": [2.0]}, {"noise_equaliser": 20.0}, {"noise_layers": 1.0}],
    ids=str,
)
def test_another_sound_as_loud_as_before(options):
    augment = NoiseAugmenter(MixtureDataConfig(**options), RATE)
    wave = white()
    found = augment(wave, SAMPLES, lambda: white(999, 1), random.Random(0))
    assert found.dtype == np.float32
    assert abs(len(found) - SAMPLES) <= (2 if "noise_speeds" in options else 2 * SAMPLES)
    assert power(found) == pytest.approx(power(wave[:SAMPLES]), rel=1e-4)
    assert not np.allclose(found[:SAMPLES], at_power(wave[: len(found)][:SAMPLES], power(found)), atol=1e-3)
    again = augment(wave, SAMPLES, lambda: white(999, 1), random.Random(0))
    np.testing.assert_array_equal(found, again)


def test_without_settings_and_in_silence_nothing_changes():
    wave = white()
    assert NoiseAugmenter(MixtureDataConfig(), RATE)(wave, SAMPLES, nothing, random.Random(0)) is wave
    augment = NoiseAugmenter(MixtureDataConfig(noise_equaliser=10.0, noise_layers=1.0), RATE)
    for quiet in (np.zeros(SAMPLES, np.float32), np.zeros(0, np.float32)):
        assert augment(quiet, SAMPLES, nothing, random.Random(0)) is quiet


def test_speed_moves_the_pitch():
    tone = np.sin(2 * np.pi * 500 * np.arange(3 * SAMPLES) / RATE).astype(np.float32)
    found = NoiseAugmenter(MixtureDataConfig(noise_speeds=[1.25]), RATE)(tone, SAMPLES, nothing, random.Random(0))
    assert np.abs(np.fft.rfft(found)).argmax() * RATE / len(found) == pytest.approx(625, abs=3)


def test_a_second_noise_is_about_as_loud_as_the_first():
    tone = np.sin(2 * np.pi * 500 * np.arange(SAMPLES) / RATE).astype(np.float32)
    other = np.sin(2 * np.pi * 2000 * np.arange(SAMPLES) / RATE).astype(np.float32) * 1e-3
    augment, levels = NoiseAugmenter(MixtureDataConfig(noise_layers=1.0), RATE), []
    for seed in range(50):
        spectrum = np.abs(np.fft.rfft(augment(tone, SAMPLES, lambda: other, random.Random(seed))))
        levels.append(20 * np.log10(spectrum[1000] / spectrum[250]))
    assert max(np.abs(levels)) < LAYER_DB + 0.1
    assert min(levels) < -3 and max(levels) > 3
    half = NoiseAugmenter(MixtureDataConfig(noise_layers=0.5), RATE)
    changed = [not np.allclose(half(tone, SAMPLES, lambda: other, random.Random(seed)), tone) for seed in range(100)]
    assert 30 < sum(changed) < 70
    assert np.allclose(augment(tone, SAMPLES, lambda: None, random.Random(0)), tone)  # the other mixture has no noise


def test_equaliser_raises_its_bands():
    wave = white(80_000)
    flat = equalised(wave, [6.0] * 6, RATE)
    np.testing.assert_allclose(flat, wave * 10 ** (6 / 20), atol=1e-5)
    tilted = np.abs(np.fft.rfft(equalised(wave, [-20.0, 20.0], RATE)) / np.fft.rfft(wave))
    decibels = 20 * np.log10(tilted)
    assert decibels[0] == pytest.approx(-20, abs=1e-2) and decibels[-1] == pytest.approx(20, abs=1e-2)
    middle = round(np.sqrt(60 * RATE / 2) * len(wave) / RATE)
    assert decibels[middle] == pytest.approx(0, abs=0.1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"noise_speeds": []}, "data.noise_speeds: factors between 0.5 and 2"),
        ({"noise_speeds": [3.0]}, "data.noise_speeds: factors between 0.5 and 2"),
        ({"noise_layers": 1.5}, "data.noise_layers is a share from 0 to 1"),
        ({"noise_equaliser": -1.0}, "data.noise_equaliser 0 to 40 dB"),
    ],
)
def test_settings_that_make_no_sense(options, message):
    with pytest.raises(ValueError, match=message):
        MixtureDataConfig(**options)
