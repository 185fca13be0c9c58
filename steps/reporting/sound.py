"""Sound in a page: an audio player and the mel spectrogram that goes with it, as data URIs."""

import base64
import io
import struct
import zlib
from dataclasses import dataclass

import numpy as np
import soundfile

from steps.reporting.markup import Markup, tag

# A dark-to-light palette (black, violet, red, orange, cream) whose lightness rises evenly.
ANCHORS = ((0, 0, 4), (43, 12, 92), (114, 31, 129), (183, 55, 121), (241, 96, 93), (254, 159, 109), (252, 253, 191))
DYNAMIC_RANGE = 10.0  # natural log of power shown below the loudest bin, 43 dB


@dataclass
class Sound:
    """What is heard and seen of an utterance."""

    samples: np.ndarray  # (T,), in [-1, 1]
    sampling_rate: int  # Hz
    features: np.ndarray  # (frames, F), log-mel energies


def player(sound: Sound, label: str) -> Markup:
    """A spectrogram over an audio player; the page's script joins them with a cursor. `label` says what it is."""
    seconds = len(sound.samples) / sound.sampling_rate
    picture = tag(
        "img", src=png_uri(spectrogram(sound.features)), alt=f"Mel spectrogram of {label}, {seconds:.1f} seconds"
    )
    ticks = [
        tag("span", f"{second} s", style=f"left:{100 * second / seconds:.2f}%")
        for second in range(0, int(0.93 * seconds) + 1, max(1, round(seconds / 8)))
    ]
    source = flac_uri(sound.samples, sound.sampling_rate)
    audio = tag("audio", controls=True, preload="metadata", src=source, aria_label=f"Play {label}")
    view = tag("div", picture, tag("div", class_="cursor"), class_="view")
    return tag("div", view, tag("div", ticks, class_="ticks", aria_hidden="true"), audio, class_="sound")


def flac_uri(samples: np.ndarray, sampling_rate: int) -> str:
    """(T,) floats in [-1, 1] -> a data URI with 16-bit FLAC, which browsers play and which loses nothing."""
    buffer = io.BytesIO()
    soundfile.write(buffer, np.clip(samples, -1.0, 1.0), sampling_rate, format="FLAC", subtype="PCM_16")
    return "data:audio/flac;base64," + base64.b64encode(buffer.getvalue()).decode()


def spectrogram(features: np.ndarray) -> np.ndarray:
    """(T, F) log energies -> (F, T) uint8 palette indices, high frequencies in the first row."""
    top = float(np.quantile(features, 0.999))
    scaled = (features - (top - DYNAMIC_RANGE)) / DYNAMIC_RANGE
    return np.rint(np.clip(scaled, 0.0, 1.0) * 255).astype(np.uint8).T[::-1]


def png_uri(indices: np.ndarray) -> str:
    """(rows, columns) uint8 palette indices -> a data URI with a PNG."""
    return "data:image/png;base64," + base64.b64encode(png(indices, palette())).decode()


def palette() -> np.ndarray:
    """(256, 3) uint8, interpolated between ANCHORS."""
    at = np.linspace(0, len(ANCHORS) - 1, 256)
    channels = [np.interp(at, range(len(ANCHORS)), channel) for channel in zip(*ANCHORS, strict=True)]
    return np.rint(np.stack(channels, axis=1)).astype(np.uint8)


def png(indices: np.ndarray, colours: np.ndarray) -> bytes:
    """A PNG (ISO/IEC 15948) of indexed colours: `indices` (rows, columns) uint8, `colours` (256, 3) uint8."""
    rows, columns = indices.shape
    header = struct.pack(">IIBBBBB", columns, rows, 8, 3, 0, 0, 0)  # depth 8, colour type 3: palette
    filters = np.zeros((rows, 1), dtype=np.uint8)  # each row begins with its filter: none
    pixels = np.concatenate([filters, indices], axis=1).tobytes()
    chunks = ((b"IHDR", header), (b"PLTE", colours.tobytes()), (b"IDAT", zlib.compress(pixels, 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
