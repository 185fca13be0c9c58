"""Changes to waveforms: what they do to power, spectrum and length, and that a key decides them."""

import random

import numpy as np
import pytest
import soundfile
from lhotse import Recording

from steps.data import wave_augment
from steps.data.config import WaveAugmentConfig
from steps.data.wave_augment import WaveAugmenter

RATE = 16000


def power(wave):
    return float(np.mean(np.square(wave, dtype=np.float64)))


def tone(hertz, seconds=1.0):
    return np.sin(2 * np.pi * hertz * np.arange(int(seconds * RATE)) / RATE).astype(np.float32)


def cut(folder, name, wave):
    soundfile.write(folder / f"{name}.wav", wave, RATE, "FLOAT")
    return Recording.from_file(folder / f"{name}.wav", recording_id=name).to_cut()


def test_a_sound_is_added_at_the_ratio_asked_for():
    wave, sound = tone(440), np.random.default_rng(0).normal(size=RATE)
    mixed = wave_augment.add_at_snr(wave, sound, 7.0)
    assert mixed.dtype == np.float32
    assert 10 * np.log10(power(wave) / power(mixed - wave)) == pytest.approx(7.0, abs=1e-3)


@pytest.mark.parametrize("silent", ["wave", "sound"])
def test_silence_is_left_alone(silent):
    wave, sound = (np.zeros(9, np.float32) if silent == name else tone(440)[:9] for name in ("wave", "sound"))
    assert (wave_augment.add_at_snr(wave, sound, 3.0) == wave).all()
    assert np.isfinite(wave_augment.reverberate(np.zeros(9, np.float32), tone(100)[:5])).all()


def test_a_room_of_one_late_impulse_changes_nothing():
    wave, response = tone(300), np.zeros(500)
    response[123] = -0.3
    wet = wave_augment.reverberate(wave, response)
    np.testing.assert_allclose(wet, -wave, atol=1e-5)  # in time, and as loud; the sign is the room's
    assert wet.dtype == np.float32


def test_a_room_keeps_power_and_length():
    rng = np.random.default_rng(1)
    wave = rng.normal(size=4000).astype(np.float32)
    wet = wave_augment.reverberate(wave, rng.normal(size=900) * np.exp(-np.arange(900) / 100))
    assert wet.shape == wave.shape
    assert power(wet) == pytest.approx(power(wave), rel=1e-4)


@pytest.mark.parametrize("factor", [0.9, 1.0, 1.1])
def test_speed_moves_pitch_and_length(factor):
    fast = wave_augment.change_speed(tone(1000), factor, RATE)
    assert len(fast) == pytest.approx(RATE / factor, abs=2)
    spectrum = np.abs(np.fft.rfft(fast[1000:-1000], RATE))  # 1 Hz a bin
    assert spectrum.argmax() == pytest.approx(1000 * factor, abs=2)


def test_short_audio_is_repeated_and_long_audio_cut_at_random(tmp_path):
    short = cut(tmp_path, "short", np.array([1, 2, 3], np.float32) / 4)
    assert (wave_augment.excerpt(short, 7, RATE, random.Random(0)) * 4).tolist() == [1, 2, 3, 1, 2, 3, 1]
    ramp = np.arange(1000, dtype=np.float32) / 1000
    long = cut(tmp_path, "long", ramp)
    starts = {round(float(wave_augment.excerpt(long, 10, RATE, random.Random(n))[0]) * 1000) for n in range(30)}
    assert len(starts) > 20
    assert max(starts) <= 990
    with pytest.raises(ValueError, match="without a sample"):
        wave_augment.repeat(np.zeros(0), 5)


def augmenter(folder, **options):
    names = ["noise-noise-a", "noise-music-b", *(f"noise-speech-{n}" for n in range(4))]
    noises = [cut(folder, name, tone(100 * (n + 1))) for n, name in enumerate(names)]
    room = cut(folder, "rir", np.array([1.0, 0.5], np.float32))
    return WaveAugmenter(WaveAugmentConfig(prob=1.0, **options), noises, [room])


@pytest.mark.parametrize(
    ("kind", "snr", "heard"),
    [("noise", (0, 15), [100]), ("music", (5, 15), [200]), ("babble", (13, 20), [300, 400, 500, 600])],
)
def test_each_kind_takes_its_own_sounds_at_its_own_ratio(tmp_path, kind, snr, heard):
    add = augmenter(tmp_path, kinds=[kind], babble_talkers=[4, 4])
    wave = tone(3000)
    for key in range(5):
        added = add(wave, RATE, random.Random(key)) - wave
        ratio = 10 * np.log10(power(wave) / power(added))
        assert snr[0] - 0.1 <= ratio <= snr[1] + 0.1
        spectrum = np.abs(np.fft.rfft(added))
        assert sorted(np.argsort(spectrum)[-len(heard) :].tolist()) == heard


def test_the_key_decides_and_the_probability_holds(tmp_path):
    add = augmenter(tmp_path)
    wave = tone(3000, 0.1)
    again = [[add(wave, RATE, random.Random(key)) for key in range(8)] for _ in range(2)]
    assert all((a == b).all() for a, b in zip(*again, strict=True))
    assert len({a.tobytes() for a in again[0]}) == 8
    add.config = WaveAugmentConfig(prob=0.25)
    changed = sum(add(wave, RATE, random.Random(key)) is not wave for key in range(400))
    assert 70 <= changed <= 130


def test_kinds_without_data_are_not_drawn(tmp_path):
    add = WaveAugmenter(WaveAugmentConfig(prob=1.0), [], [])
    wave = tone(100)
    assert add(wave, RATE, random.Random(0)) is wave
    assert WaveAugmenter.from_folder(WaveAugmentConfig(), tmp_path).kinds == []
