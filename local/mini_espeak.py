"""eSpeak NG in a process of its own, which answers each request from a fork (standard library only).

The library keeps state from one utterance to the next (flutter, echo, its random numbers), some of it beyond
`espeak_Terminate`, and reads memory that it did not write. So every utterance is spoken by a fork of this
process, in which the library is loaded and has not spoken yet: the samples then depend on the request alone.
The process is small, and touches little memory, because a fork costs what both sides write to afterwards.

Requests are JSON lines on standard input; an answer is the number of bytes (8 bytes, little-endian, 0 for a
failure) and 16-bit samples. The process ends with its input. `local.mini_speech` is the other side.
"""

import ctypes
import json
import os
import sys
from pathlib import Path
from typing import Any, NoReturn

SAMPLING_RATE = 22050  # Hz, of the library
LANGUAGE = "cmn-latn-pinyin"
LENGTH_BYTES = 8
_SYNCHRONOUS, _NO_EXIT = 2, 0x8000  # espeak_Initialize: output through the callback; report errors, do not exit
_PARAMETERS = {"rate": 1, "volume": 2, "pitch": 3, "range": 4}  # espeak_PARAMETER
_UTF8 = 1  # espeakCHARS_UTF8
_LONGEST_PATH = 150  # bytes
_SEED = 1
_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p)


def serve(library_path: str, data_path: str) -> None:
    """Answers requests {"text", "variant", "rate", "volume", "pitch", "range"} until the input ends."""
    library = ctypes.CDLL(library_path)
    if library.espeak_Initialize(_SYNCHRONOUS, 0, _short(os.fsencode(data_path)), _NO_EXIT) != SAMPLING_RATE:
        sys.exit(f"eSpeak NG did not start with its data in {data_path}; is that path too long for it?")
    library.espeak_SetVoiceByName(LANGUAGE.encode())
    for line in sys.stdin.buffer:
        child = os.fork()
        if child == 0:
            _answer(library, json.loads(line))
        if os.waitpid(child, 0)[1] != 0:
            _send(b"")


def _short(folder: bytes) -> bytes:
    """Another name of `folder` where it is too long: the library keeps it in 160 bytes, and cuts it off there.

    The name goes through a descriptor that stays open as long as the process and its forks, which Linux has.
    """
    if len(folder) <= _LONGEST_PATH or not Path("/proc/self/fd").is_dir():
        return folder
    return b"/proc/self/fd/%d" % os.open(folder, os.O_RDONLY | os.O_DIRECTORY)


def _answer(library: Any, request: dict[str, Any]) -> NoReturn:
    """Runs in the fork: speaks, sends the samples and ends the process, with 1 if anything failed."""
    status = 1
    try:
        chunks: list[bytes] = []

        def collect(samples: int | None, count: int, _events: int | None) -> int:
            if samples and count > 0:
                chunks.append(ctypes.string_at(samples, 2 * count))
            return 0

        callback = _Callback(collect)  # kept until the process ends: the library holds a bare pointer
        library.espeak_SetSynthCallback(callback)
        library.espeak_ng_SetRandSeed(ctypes.c_long(_SEED))
        failed = library.espeak_SetVoiceByName(f"{LANGUAGE}+{request['variant']}".encode())
        for name, parameter in _PARAMETERS.items():
            failed |= library.espeak_SetParameter(parameter, request[name], 0)
        text = request["text"].encode()
        failed |= library.espeak_Synth(text, len(text) + 1, 0, 0, 0, _UTF8, None, None)
        if chunks and not failed:
            _send(b"".join(chunks))
            status = 0
    finally:
        os._exit(status)


def _send(samples: bytes) -> None:
    sys.stdout.buffer.write(len(samples).to_bytes(LENGTH_BYTES, "little") + samples)
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    serve(*sys.argv[1:])
