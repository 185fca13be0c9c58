"""What lies between a mouth and a microphone: a light room, noise, and a recording level.

Everything is computed in float64 and rounded to 16 bits once, at the end.
"""

import math

import numpy as np

SAMPLING_RATE = 16000  # Hz, of what is recorded
DIRECT_GAP = 0.0015  # seconds between the direct sound and the first reflections
MAINS = 50.0  # Hz


def to_recording_rate(samples: np.ndarray, sampling_rate: int) -> np.ndarray:
    """(T,) at `sampling_rate` -> (T',) at 16 kHz, T' = T * 16000 / `sampling_rate`, rounded up.

    The spectrum is cut above 8 kHz, or above half of `sampling_rate` if that is less, with a raised-cosine
    edge from 92 % of that frequency on. (By NumPy: importing scipy.signal would double the time to start.)
    """
    common = math.gcd(SAMPLING_RATE, sampling_rate)
    up, down = SAMPLING_RATE // common, sampling_rate // common
    blocks = _smooth(-(-len(samples) // down) + 1)  # one more than needed: the end must not wrap to the start
    spectrum = np.fft.rfft(samples, blocks * down)
    kept = min(blocks * up, blocks * down) // 2 + 1
    edge = np.clip((np.arange(kept) / (kept - 1) - 0.92) / 0.08, 0.0, 1.0)
    result = np.zeros(blocks * up // 2 + 1, complex)
    result[:kept] = spectrum[:kept] * (0.5 + 0.5 * np.cos(np.pi * edge))
    return np.fft.irfft(result, blocks * up)[: -(-len(samples) * up // down)] * (up / down)


def trim(samples: np.ndarray, floor: float = 1e-3) -> np.ndarray:
    """Without the silence at both ends: what stays below `floor` times the peak."""
    loud = np.flatnonzero(np.abs(samples) > floor * np.abs(samples).max())
    return samples[loud[0] : loud[-1] + 1]


def reverberate(samples: np.ndarray, t60: float, direct_to_reverb: float, rng: np.random.Generator) -> np.ndarray:
    """(T,) in a room: the direct sound and a tail of noise that falls by 60 dB in `t60` seconds.

    `direct_to_reverb` is the ratio of their energies in dB. The result is longer by the tail. The model is
    Polack's (J.-D. Polack, La transmission de l'energie sonore dans les salles, 1988).
    """
    length = int(t60 * SAMPLING_RATE)
    tail = rng.standard_normal(length) * 10 ** (-3 * np.arange(length) / length)
    tail *= 10 ** (-direct_to_reverb / 20) / np.sqrt(np.sum(tail**2))
    response = np.concatenate([[1.0], np.zeros(int(DIRECT_GAP * SAMPLING_RATE)), tail])
    size = len(samples) + len(response) - 1
    spectrum = np.fft.rfft(samples, _smooth(size)) * np.fft.rfft(response, _smooth(size))
    return np.fft.irfft(spectrum, _smooth(size))[:size]


def coloured(length: int, slope: float, rng: np.random.Generator) -> np.ndarray:
    """Noise (T,) of power 1 whose spectrum falls by 3 * `slope` dB an octave: 0 white, 1 pink, 2 brown."""
    size = _smooth(length)
    spectrum = np.fft.rfft(rng.standard_normal(size))
    frequency = np.fft.rfftfreq(size, 1 / SAMPLING_RATE)
    shaped = np.fft.irfft(spectrum * np.maximum(frequency, 30.0) ** (-slope / 2), size)
    return unit_power(shaped[:length])


def hum(length: int, rng: np.random.Generator) -> np.ndarray:
    """Mains hum (T,) of power 1: harmonics of 50 Hz, weaker the higher, in random phases."""
    time = np.arange(length) / SAMPLING_RATE
    order = np.arange(1, 9)[:, None]
    strength = rng.uniform(0.3, 1.0, order.shape) / order
    return unit_power((strength * np.sin(2 * np.pi * (MAINS * order * time + rng.random(order.shape)))).sum(axis=0))


def clicks(length: int, per_second: float, rng: np.random.Generator) -> np.ndarray:
    """Knocks and clicks (T,) of power 1: short decaying tones and bursts at random times, one at least."""
    result = np.zeros(length)
    for _ in range(max(1, rng.poisson(per_second * length / SAMPLING_RATE))):
        size = int(rng.uniform(0.005, 0.06) * SAMPLING_RATE)
        decay = 10 ** (-3 * np.arange(size) / size)
        tone = np.sin(2 * np.pi * rng.uniform(150, 4000) * np.arange(size) / SAMPLING_RATE)
        event = decay * (tone + rng.uniform(0, 1) * rng.standard_normal(size)) * rng.uniform(0.3, 1.0)
        start = rng.integers(0, length)
        result[start : start + size] += event[: length - start]
    return unit_power(result)


def unit_power(samples: np.ndarray) -> np.ndarray:
    """Scaled so that the mean square is 1."""
    return samples / np.sqrt(np.mean(samples**2))


def record(speech: np.ndarray, noise: np.ndarray, snr: float, level: float) -> np.ndarray:
    """Mixes (T,) with noise (T,) of power 1 at `snr` dB, and returns 16-bit samples at `level` dB of full scale.

    The power of the speech is that of its loud parts: 20 ms frames within 30 dB of the loudest.
    """
    frames = speech[: len(speech) // 320 * 320].reshape(-1, 320)
    power = np.mean(frames**2, axis=1)
    active = power[power > 1e-3 * power.max()].mean()
    mixture = speech / np.sqrt(active) + noise * 10 ** (-snr / 20)
    return to_16_bit(unit_power(mixture) * 10 ** (level / 20))


def to_16_bit(samples: np.ndarray) -> np.ndarray:
    """Rounds to int16; samples whose peak is above 0.98 are scaled down first."""
    peak = np.abs(samples).max()
    return np.rint(samples * (32767 * min(1.0, 0.98 / peak))).astype(np.int16)


def _smooth(least: int) -> int:
    """The least 2^k or 3 * 2^k that is not below `least` (nor below 2): a length that FFTs are fast for."""
    power = 1 << max(1, (least - 1).bit_length())
    return power * 3 // 4 if least <= power * 3 // 4 and power >= 4 else power
