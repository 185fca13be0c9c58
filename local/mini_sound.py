"""A line of the mini corpus's plan becomes sound."""

import hashlib

import numpy as np

from local import mini_room
from local.mini_lexicon import spelled_for_speech
from local.mini_plan import Noise, Recording
from local.mini_speech import SAMPLING_RATE, speak
from local.mini_voices import Voice

NOISE_LEVEL = -26.0  # dB of full scale


def render(item: Recording | Noise, seed: int) -> np.ndarray:
    """16-bit samples (T,) at 16 kHz; its chance is keyed by (seed, id)."""
    key = int.from_bytes(hashlib.sha256(item.id.encode()).digest()[:8], "big")
    rng = np.random.default_rng([seed, key])
    return _recording(item, rng) if isinstance(item, Recording) else _noise(item, rng)


def _recording(recording: Recording, rng: np.random.Generator) -> np.ndarray:
    dry = _speech(recording.text, recording.voice)
    pauses = [int(seconds * mini_room.SAMPLING_RATE) for seconds in (recording.before, recording.after)]
    length = pauses[0] + len(dry) + pauses[1]
    wet = mini_room.reverberate(np.pad(dry, pauses), recording.t60, recording.direct_to_reverb, rng)[:length]
    background = mini_room.coloured(length, recording.slope, rng)
    if recording.hum:
        background = mini_room.unit_power(background + 0.5 * mini_room.hum(length, rng))
    return mini_room.record(wet, background, recording.snr, recording.level)


def _noise(noise: Noise, rng: np.random.Generator) -> np.ndarray:
    length = int(noise.seconds * mini_room.SAMPLING_RATE)
    if noise.kind == "coloured":
        sound = mini_room.coloured(length, rng.uniform(0.0, 2.0), rng) * _swell(length, rng)
    elif noise.kind == "hum":
        sound = mini_room.hum(length, rng) + 0.1 * mini_room.coloured(length, 1.0, rng)
    elif noise.kind == "clicks":
        sound = mini_room.clicks(length, rng.uniform(1.0, 5.0), rng) + 0.03 * mini_room.coloured(length, 1.0, rng)
    else:
        sound = _babble(noise, length, rng)
    return mini_room.to_16_bit(mini_room.unit_power(sound) * 10 ** (NOISE_LEVEL / 20))


def _speech(text: str, voice: Voice) -> np.ndarray:
    """Speech (T,) at 16 kHz, without silence around it."""
    samples = speak(spelled_for_speech(text), voice)
    return mini_room.trim(mini_room.to_recording_rate(samples, SAMPLING_RATE))


def _swell(length: int, rng: np.random.Generator) -> np.ndarray:
    """A slow change of loudness between half and full, as of passing traffic."""
    time = np.arange(length) / mini_room.SAMPLING_RATE
    return 0.75 + 0.25 * np.sin(2 * np.pi * (rng.uniform(0.1, 1.0) * time + rng.random()))


def _babble(noise: Noise, length: int, rng: np.random.Generator) -> np.ndarray:
    """The talkers one over another, each starting in the midst of a sentence, in a reverberant room."""
    total = np.zeros(length)
    for voice, texts in noise.talkers:
        speech = np.zeros(0)
        for text in texts:
            if len(speech) < length + mini_room.SAMPLING_RATE:
                speech = np.concatenate([speech, mini_room.unit_power(_speech(text, voice))])
        speech = np.resize(speech, length + mini_room.SAMPLING_RATE)
        start = rng.integers(0, mini_room.SAMPLING_RATE)
        total += mini_room.reverberate(speech[start : start + length], 0.5, 0.0, rng)[:length]
    return total
