"""Recordings as people hand them over: rates, channels, silence, and files that are none."""

import numpy as np
import pytest
import soundfile
import torch

from steps.backend.recording import MOST_SPEECH, NoSpeechError, listen, read_wave
from steps.data.config import FeatureConfig
from steps.data.features import make_extractor

FBANK = make_extractor(FeatureConfig())
RATE = 16000


def sound(seconds, rate=RATE, level=0.1, key=0):
    """Noise whose level goes up and down four times a second."""
    samples = np.random.default_rng(key).normal(size=round(seconds * rate))
    return level * samples * (1 + 0.5 * np.sin(2 * np.pi * 4 * np.arange(len(samples)) / rate))


def silence(seconds, level=0.0):
    return level * np.random.default_rng(9).normal(size=round(seconds * RATE))


def written(path, samples, rate=RATE, **options):
    soundfile.write(path, samples, rate, **options)
    return path


@pytest.mark.parametrize("noise", [0.0, 1e-4])
def test_speech_is_counted_between_long_silences(tmp_path, noise):
    wave = np.concatenate([silence(4, noise), sound(1), silence(6, noise), sound(0.5), silence(2, noise)])
    found = listen(written(tmp_path / "x.wav", wave), FBANK)
    assert found.seconds == pytest.approx(1.5, abs=0.1)
    assert len(found.features) == 1350
    # half a second is kept on either side of speech: 0.5 + 1 + 0.5 and 0.5 + 0.5 + 0.5
    assert len(found.near_speech()) == pytest.approx(350, abs=12)
    assert len(found.near_speech(0.1)) == pytest.approx(190, abs=12)


def test_a_recording_without_pauses_is_left_as_it_is(tmp_path):
    path = written(tmp_path / "x.wav", sound(2))
    found = listen(path, FBANK)
    expected = FBANK.extract(torch.from_numpy(read_wave(path, RATE, "x")), RATE)
    torch.testing.assert_close(found.near_speech(), expected)


@pytest.mark.parametrize("rate", [8000, 44100, 48000])
def test_any_rate_becomes_the_models(tmp_path, rate):
    time = np.arange(rate) / rate
    wave = read_wave(written(tmp_path / "x.flac", 0.5 * np.sin(2 * np.pi * 440 * time), rate), RATE, "x")
    assert len(wave) == RATE
    expected = 0.5 * np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE)
    np.testing.assert_allclose(wave[800:-800], expected[800:-800], atol=0.01)


@pytest.mark.parametrize(
    ("samples", "error", "message"),
    [
        (np.stack([sound(1), sound(1)], axis=1), ValueError, "2 channels, expected one.*sox"),
        (np.zeros(0), ValueError, "no samples, only a header"),
        (np.concatenate([sound(1), [np.nan], sound(1)]), ValueError, "a sample at 1.00 s is not a finite"),
        (np.concatenate([sound(1), [np.inf], sound(1)]), ValueError, "a sample at 1.00 s is not a finite"),
        (silence(2), NoSpeechError, r"no speech \(silence in 2.00 s\)"),
        (silence(2, 1e-4), NoSpeechError, r"no speech \(silence in 2.00 s\)"),
        (sound(0.1), NoSpeechError, r"no speech \(0.10 s of speech, at least 0.3 s are needed in 0.10 s\)"),
        (sound(0.001), NoSpeechError, r"no speech \(silence in 0.00 s\)"),
        (
            np.concatenate([silence(3), sound(0.2), silence(3)]),
            NoSpeechError,
            r"no speech \(0.20 s of speech, at least 0.3 s",
        ),
    ],
)
def test_what_cannot_be_used_is_refused_by_name(tmp_path, samples, error, message):
    path = written(tmp_path / "我的 录音.wav", samples, subtype="FLOAT")
    with pytest.raises(error, match=f"我的 录音.wav: {message}"):
        listen(path, FBANK)


def test_what_is_no_audio_is_refused_by_name(tmp_path):
    path = tmp_path / "x.wav"
    with pytest.raises(FileNotFoundError, match=r"x\.wav: there is no such file"):
        listen(path, FBANK)
    for content in (b"", b"RIFF", b"hello\n" * 100):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"x\.wav: no audio that can be read"):
            listen(path, FBANK)
    with pytest.raises(FileNotFoundError, match="there is no such file"):
        listen(tmp_path, FBANK)


def test_a_long_recording_is_heard_in_part(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("steps.backend.recording.MOST_SPEECH", 1.5)
    found = listen(written(tmp_path / "x.wav", np.concatenate([sound(1), silence(2), sound(1)])), FBANK)
    assert found.seconds == pytest.approx(1.5)
    assert "only its first 1.5 s of speech" in caplog.text
    assert MOST_SPEECH > 60
