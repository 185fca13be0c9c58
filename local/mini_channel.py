"""What a microphone or a line does to a spectrum."""

import numpy as np

from local.mini_room import SAMPLING_RATE

CENTRE = 1000.0  # Hz, where a tilt changes nothing
WRAP = 4000  # samples: what the filter leaves behind a sound must not come before its start
EDGE = 1.4  # a cut-off frequency, divided and multiplied by it, is where nothing passes and where everything does


def channel(samples: np.ndarray, low: float, high: float, tilt: float = 0.0) -> np.ndarray:
    """(..., T) without what is below `low` and above `high` Hz, and stronger by `tilt` dB with each octave."""
    length = samples.shape[-1]
    size = 1 << (length + WRAP).bit_length()
    frequency = np.maximum(np.fft.rfftfreq(size, 1 / SAMPLING_RATE), 1.0)
    octaves = np.log2(frequency / CENTRE)
    gain = (
        _rise(octaves - np.log2(low / CENTRE)) * _rise(np.log2(high / CENTRE) - octaves) * 10 ** (tilt * octaves / 20)
    )
    return np.fft.irfft(np.fft.rfft(samples, size) * gain, size)[..., :length]


def _rise(octaves: np.ndarray) -> np.ndarray:
    """From 0 to 1 where `octaves` goes from -log2(EDGE) to log2(EDGE), as half a cosine."""
    return 0.5 + 0.5 * np.sin(0.5 * np.pi * np.clip(octaves / np.log2(EDGE), -1.0, 1.0))
