"""Few recordings of noise become many sounds in training: two at once, at other speeds, through other equalisers."""

import random
from collections.abc import Callable

import numpy as np

from steps.data.mixture_config import MixtureDataConfig
from steps.data.wave_augment import change_speed

LOWEST = 60.0  # Hz: where the equaliser's first band lies; the last lies at half the sampling rate
BANDS = 6
LAYER_DB = 6.0  # by how much a second noise may be louder or softer than the first


class NoiseAugmenter:
    """What `data.noise_*` of an experiment asks for, with draws from the generator that is given."""

    def __init__(self, config: MixtureDataConfig, sampling_rate: int):
        self.speeds, self.layers, self.equaliser = config.noise_speeds, config.noise_layers, config.noise_equaliser
        self.rate = sampling_rate

    @property
    def idle(self) -> bool:
        """Whether nothing is ever changed."""
        return self.speeds == [1.0] and not self.layers and not self.equaliser

    def __call__(
        self, noise: np.ndarray, samples: int, other: Callable[[], np.ndarray | None], rng: random.Random
    ) -> np.ndarray:
        """(T,) -> (samples or fewer,), as loud as the first `samples` of `noise`; (T,) as it is where it is silent.

        `other` draws another noise of any length, or None where it finds none.
        """
        if self.idle or not noise[:samples].any():
            return noise
        power = float(np.mean(np.square(noise[:samples])))
        speed = rng.choice(self.speeds)
        changed = noise[: round(samples * speed)]
        if rng.random() < self.layers and (second := other()) is not None:
            changed = changed + at_power(
                np.resize(second, len(changed)), power * 10 ** (rng.uniform(-1, 1) * LAYER_DB / 10)
            )
        changed = change_speed(changed.astype(np.float32), speed, self.rate)
        if self.equaliser:
            changed = equalised(changed, [rng.uniform(-1, 1) * self.equaliser for _ in range(BANDS)], self.rate)
        return at_power(changed, power)


def equalised(wave: np.ndarray, gains: list[float], sampling_rate: int) -> np.ndarray:
    """(T,) through gains in dB at frequencies evenly spaced on a logarithmic scale, and straight lines between them."""
    spectrum = np.fft.rfft(wave)
    frequencies = np.linspace(0, sampling_rate / 2, len(spectrum)).clip(min=LOWEST)
    places = np.linspace(np.log(LOWEST), np.log(sampling_rate / 2), len(gains))
    decibels = np.interp(np.log(frequencies), places, gains)
    return np.fft.irfft(spectrum * 10 ** (decibels / 20), len(wave)).astype(np.float32)


def at_power(wave: np.ndarray, power: float) -> np.ndarray:
    """(T,) with that mean square; silence stays silence."""
    own = float(np.mean(np.square(wave, dtype=np.float64)))
    return (wave * np.sqrt(power / own)).astype(np.float32) if own > 0 else wave
