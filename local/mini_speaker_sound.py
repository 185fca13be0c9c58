"""A line of the plan of the mini corpus for speaker recognition becomes sound."""

import hashlib

import numpy as np

from local import mini_rirs, mini_room, mini_sound
from local.mini_channel import channel
from local.mini_lexicon import spelled_for_speech
from local.mini_plan import Noise
from local.mini_rirs import Room
from local.mini_room import SAMPLING_RATE
from local.mini_speaker_plan import Spoken
from local.mini_speech import SAMPLING_RATE as SPEECH_RATE
from local.mini_speech import speak

NOTE = SAMPLING_RATE // 2  # samples
PENTATONIC = (0, 2, 4, 7, 9)  # semitones


def render(item: Spoken | Room | Noise, seed: int) -> np.ndarray:
    """16-bit samples (T,) at 16 kHz; chance is keyed by (seed, path), and that of a session's room by its name."""
    if isinstance(item, Noise):
        return mini_sound.render(item, seed)
    if isinstance(item, Room):
        return mini_room.to_16_bit(mini_rirs.response(item))
    samples = speak(spelled_for_speech(item.text), item.voice)
    dry = mini_room.trim(mini_room.to_recording_rate(samples, SPEECH_RATE))
    padded = np.pad(dry, [int(seconds * SAMPLING_RATE) for seconds in (item.before, item.after)])
    wet = mini_room.reverberate(padded, item.t60, item.direct_to_reverb, _generator(seed, item.session))
    sound = background(item.background, len(padded), _generator(seed, item.path))
    speech, noise = channel(np.stack([wet[: len(padded)], sound]), *item.band, item.tilt)
    return mini_room.record(speech, mini_room.unit_power(noise), item.snr, item.level)


def background(kind: str, length: int, rng: np.random.Generator) -> np.ndarray:
    """What is heard besides the speaker, (T,) of power 1: a quiet "room", a "street", mains "hum" or "music"."""
    slope = rng.uniform(0.8, 1.6)
    if kind == "street":
        knocks = mini_room.clicks(length, 3.0, rng)
        return mini_room.unit_power(mini_room.coloured(length, slope, rng) + 0.5 * knocks)
    hiss = mini_room.coloured(length, slope, rng)
    if kind == "hum":
        return mini_room.unit_power(hiss + mini_room.hum(length, rng))
    if kind == "music":
        return mini_room.unit_power(0.3 * hiss + music(length, rng))
    assert kind == "room", kind
    return hiss


def music(length: int, rng: np.random.Generator) -> np.ndarray:
    """A tune (T,) of power 1: plucked notes of a pentatonic scale, of eight harmonics, three a second."""
    result, step, note = np.zeros(length + NOTE), SAMPLING_RATE // 3, np.arange(NOTE) / SAMPLING_RATE
    order, key = np.arange(1, 9)[:, None], 110 * 2 ** rng.uniform(0, 1)
    decay = np.exp(-3 * order * note) / order
    for start in range(0, length, step):
        pitch = key * 2 ** ((rng.choice(PENTATONIC) + 12 * rng.integers(0, 3)) / 12)
        harmonics = decay * np.sin(2 * np.pi * pitch * order * note)
        result[start : start + NOTE] += rng.uniform(0.5, 1.0) * harmonics.sum(axis=0)
    return mini_room.unit_power(result[:length])


def _generator(seed: int, key: str) -> np.random.Generator:
    return np.random.default_rng([seed, int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big")])
