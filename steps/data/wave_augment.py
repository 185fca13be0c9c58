"""Noise, music, babble, rooms and speed for waveforms; every draw comes from a generator that the caller keys."""

import functools
import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from lhotse.cut import Cut
from scipy.signal import fftconvolve
from torchaudio.transforms import Resample

from steps.data.archives import whole_recordings
from steps.data.config import WaveAugmentConfig
from steps.data.features import one_thread

TALKER = "noise-speech-"  # ids of recordings that babble is made of, several at a time
MUSIC = "noise-music-"
BABBLE = "noise-babble"  # ids of recordings that are babble already


class WaveAugmenter:
    """Adds noise or a room to training chunks, with what data/<corpus>/recordings_{noise,rir}.jsonl.gz hold."""

    def __init__(self, config: WaveAugmentConfig, noises: Sequence[Cut], rooms: Sequence[Cut]):
        """Kinds that the data cannot serve are never drawn."""
        self.config = config
        self.talkers = [cut for cut in noises if cut.id.startswith(TALKER)]
        self.sounds = {
            "music": [cut for cut in noises if cut.id.startswith(MUSIC)],
            "babble": [cut for cut in noises if cut.id.startswith(BABBLE)] or self.talkers,
            "noise": [cut for cut in noises if not cut.id.startswith((TALKER, MUSIC, BABBLE))],
            "reverb": list(rooms),
        }
        self.kinds = [kind for kind in config.kinds if self.sounds[kind]]

    @classmethod
    def from_folder(cls, config: WaveAugmentConfig, folder: Path) -> "WaveAugmenter":
        """With the noises and rooms of data/<corpus>; with neither if it has none or the configuration wants none."""
        wanted = config.prob > 0
        return cls(
            config,
            whole_recordings(folder / "recordings_noise.jsonl.gz") if wanted else [],
            whole_recordings(folder / "recordings_rir.jsonl.gz") if wanted and "reverb" in config.kinds else [],
        )

    def __call__(self, wave: np.ndarray, sampling_rate: int, rng: random.Random) -> np.ndarray:
        """(T,) float32 -> (T,): as it was, in a room, or with a sound at an SNR of the configuration."""
        if not self.kinds or rng.random() >= self.config.prob:
            return wave
        kind = rng.choice(self.kinds)
        if kind == "reverb":
            return reverberate(wave, rng.choice(self.sounds["reverb"]).load_audio()[0])
        snr = rng.uniform(*getattr(self.config, f"{kind}_snr"))
        if kind == "babble" and self.sounds["babble"] is self.talkers:
            voices = rng.sample(self.talkers, min(rng.randint(*self.config.babble_talkers), len(self.talkers)))
            sound = sum(unit_power(excerpt(cut, len(wave), sampling_rate, rng)) for cut in voices)
        else:
            sound = excerpt(rng.choice(self.sounds[kind]), len(wave), sampling_rate, rng)
        return add_at_snr(wave, sound, snr)


def excerpt(cut: Cut, samples: int, sampling_rate: int, rng: random.Random) -> np.ndarray:
    """(samples,) float32 from a random place of the cut; a cut that is too short is repeated."""
    if cut.num_samples > samples:
        start = rng.randint(0, cut.num_samples - samples)
        cut = cut.truncate(offset=start / sampling_rate, duration=samples / sampling_rate)
    return repeat(cut.load_audio()[0], samples)


def repeat(wave: np.ndarray, samples: int) -> np.ndarray:
    """(T,) -> (samples,): cut, or repeated from its start. Raises ValueError for an empty wave."""
    if not len(wave):
        raise ValueError("audio without a sample")
    return np.resize(wave, samples)


def reverberate(wave: np.ndarray, response: np.ndarray) -> np.ndarray:
    """(T,) in the room of an impulse response (R,), in time with the direct sound and with the power it had."""
    peak = int(np.abs(response).argmax())
    wet = fftconvolve(wave, response)[peak : peak + len(wave)]
    power = float(np.mean(np.square(wet)))
    if power == 0:
        return wave
    return (wet * np.sqrt(np.mean(np.square(wave)) / power)).astype(np.float32)


def add_at_snr(wave: np.ndarray, sound: np.ndarray, snr: float) -> np.ndarray:
    """(T,) + (T,): the sound `snr` dB below the wave in mean power; a silent wave or sound changes nothing."""
    signal, noise = float(np.mean(np.square(wave))), float(np.mean(np.square(sound)))
    if signal == 0 or noise == 0:
        return wave
    return (wave + sound * np.sqrt(signal / noise) * 10 ** (-snr / 20)).astype(np.float32)


def unit_power(wave: np.ndarray) -> np.ndarray:
    """Scaled so that the mean square is 1; silence stays silent."""
    power = float(np.mean(np.square(wave)))
    return wave / np.sqrt(power) if power else wave


def change_speed(wave: np.ndarray, factor: float, sampling_rate: int) -> np.ndarray:
    """(T,) -> (about T / factor,): faster and higher for factors above 1, as a tape would be."""
    if factor == 1.0:
        return wave
    with one_thread():
        return _resampler(round(sampling_rate * factor), sampling_rate)(torch.from_numpy(wave)).numpy()


@functools.cache
def _resampler(before: int, after: int) -> Resample:
    return Resample(before, after)
