"""Pinyin becomes speech by eSpeak NG, the same samples each time (see `local.mini_espeak`)."""

import functools
import json
import subprocess
import sys
from pathlib import Path

import espeakng_loader  # the wheel that carries library and voices
import numpy as np

from local import mini_espeak
from local.mini_voices import Voice

SAMPLING_RATE = mini_espeak.SAMPLING_RATE
_LOUDNESS = 45  # of 100: some variants clip at 100


def speak(text: str, voice: Voice) -> np.ndarray:
    """Samples (T,) in [-1, 1] at 22,050 Hz of `text` in pinyin with tone numbers (da3kai1 deng1).

    Raises OSError when the library fails or does not know the variant, for which it would speak another.
    """
    variants = Path(espeakng_loader.get_data_path()) / "voices/!v"
    if not (variants / voice.variant).is_file():
        raise OSError(f"eSpeak NG has no variant '{voice.variant}' in {variants}")
    request = {"text": text, "variant": voice.variant, "volume": _LOUDNESS}
    request |= {"rate": voice.rate, "pitch": voice.pitch, "range": voice.range}
    server = _server()
    server.stdin.write(json.dumps(request).encode() + b"\n")
    server.stdin.flush()
    length = int.from_bytes(server.stdout.read(mini_espeak.LENGTH_BYTES), "little")
    if length == 0:
        raise OSError(f"eSpeak NG could not speak '{text}' as {voice}")
    return np.frombuffer(server.stdout.read(length), np.int16) / 32768.0


@functools.cache
def _server() -> subprocess.Popen:
    """The process that speaks for this one; it ends when this one does, since its input ends then."""
    paths = [espeakng_loader.get_library_path(), espeakng_loader.get_data_path()]
    command = [sys.executable, "-I", "-S", mini_espeak.__file__, *map(str, paths)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
