"""One pass over an audio file: its length, and everything that makes it unfit for training."""

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import soundfile

from local.problems import Reason
from utils.parallel import parallel

FRAME_SECONDS = 0.025
BLOCK_FRAMES = 2400  # one minute at a time, so that an hour-long recording fits in memory
QUIETEST_SPEECH = -60.0  # dB below full scale: about 33 units of 16 bits, the loudest frame of an utterance
STEADY_NOISE = 3.0  # dB between the 5th and 95th percentile of frame levels; speech has 20 and more
UNKNOWN_LENGTH = 0x7FFFF000  # what programs that write WAV into a pipe put, or more, since they cannot seek
UNKNOWN_FRAMES = 2**63 - 1  # libsndfile's word for a stream whose header has no length


@dataclass(frozen=True)
class Request:
    """A file, and the spans (start, end in seconds; None: the end of the file) of the utterances in it."""

    path: Path
    spans: tuple[tuple[float, float | None], ...] = ((0.0, None),)
    sampling_rate: int | None = None  # the one expected; None accepts any
    speech: bool = True  # whether a steady level counts as silence
    mono: bool = True  # whether several channels are a fault
    decode: bool = True  # False: the header alone is read (where it has the length), and believed


@dataclass
class Inspection:
    """What is in a file: samples per channel, rate, faults of the file, and faults of single spans."""

    path: Path
    samples: int = 0
    sampling_rate: int = 0
    channels: int = 1
    faults: list[tuple[Reason, str]] = field(default_factory=list)
    span_faults: list[tuple[int, Reason, str]] = field(default_factory=list)  # (index into spans, ...)


def inspect_all(requests: Sequence[Request], num_jobs: int = 1) -> Iterator[Inspection]:
    """Inspections in the order of `requests`, each file read once, by `num_jobs` processes."""
    if num_jobs <= 1 or len(requests) < 2 * num_jobs:
        return map(inspect, requests)
    return parallel(inspect, requests, num_jobs)


def inspect(request: Request) -> Inspection:
    """Reads one file to its end. Nothing is raised for a bad file: its faults are in the result."""
    found = Inspection(request.path)
    if not request.path.is_file():
        found.faults.append((Reason.MISSING, ""))
    elif request.path.stat().st_size == 0:
        found.faults.append((Reason.EMPTY, "0 bytes"))
    else:
        try:
            _read(request, found)
        except (soundfile.LibsndfileError, OSError) as error:
            found.faults.append((Reason.UNREADABLE, " ".join(str(error).split())))
    return found


def _read(request: Request, found: Inspection) -> None:
    with soundfile.SoundFile(request.path) as file:
        found.sampling_rate = file.samplerate
        found.channels = file.channels
        known = file.frames % UNKNOWN_FRAMES
        promised = max(known, _promised_by_wav_header(request.path, file))
        size = max(1, round(FRAME_SECONDS * file.samplerate))
        energies, finite = [], True
        if not request.decode:
            found.samples = known
        while (request.decode or not known) and len(block := _next_block(file, size * BLOCK_FRAMES)):
            found.samples += len(block)
            finite = finite and bool(np.isfinite(block).all())
            energies.append(_frame_energies(block, size))
    rate = found.sampling_rate
    if found.samples < promised:
        detail = f"ends before the {promised / rate:.2f} s that its header says"
        found.faults.append((Reason.TRUNCATED, detail))
    elif found.samples == 0:
        found.faults.append((Reason.EMPTY, "a header only"))
    if request.sampling_rate not in (None, rate):
        found.faults.append((Reason.RATE, f"{rate} Hz, expected {request.sampling_rate}"))
    if request.mono and found.channels != 1:
        found.faults.append((Reason.CHANNELS, f"{found.channels} channels"))
    if not finite:
        found.faults.append((Reason.NOT_FINITE, ""))
    if not found.faults:
        found.span_faults = _span_faults(request, found, np.concatenate(energies) if energies else None)


def _next_block(file: soundfile.SoundFile, size: int) -> np.ndarray:
    """The next samples (T, channels), fewer at the end; a decoder that breaks off ends the file."""
    try:
        return file.read(size, dtype="float32", always_2d=True)
    except soundfile.LibsndfileError:
        return np.empty((0, file.channels), np.float32)


def _promised_by_wav_header(path: Path, file: soundfile.SoundFile) -> int:
    """Samples that a WAV header promises, 0 where nothing can be said. libsndfile hides what is missing."""
    if file.format not in ("WAV", "WAVEX"):
        return 0
    with path.open("rb") as stream:
        stream.seek(12)
        bytes_per_sample = 0
        while len(head := stream.read(8)) == 8:
            name, size = struct.unpack("<4sI", head)
            if name == b"fmt ":
                bytes_per_sample = struct.unpack("<H", stream.read(size)[12:14])[0]
                size = 0
            elif name == b"data":
                return size // bytes_per_sample if bytes_per_sample and size < UNKNOWN_LENGTH else 0
            stream.seek(size + size % 2, 1)
    return 0


def _frame_energies(block: np.ndarray, size: int) -> np.ndarray:
    """Mean squares of frames of `size` samples of (T, channels); what is left over makes a shorter frame."""
    squares = np.square(block, dtype=np.float64).mean(axis=1)
    return np.add.reduceat(squares, np.arange(0, len(squares), size)) / size


def _span_faults(request: Request, found: Inspection, energies: np.ndarray | None) -> list[tuple[int, Reason, str]]:
    duration, faults = found.samples / found.sampling_rate, []
    for index, (start, end) in enumerate(request.spans):
        stop = duration if end is None else end
        if not 0 <= start < stop <= duration + FRAME_SECONDS:
            detail = f"{start:.2f} to {stop:.2f} s of a file of {duration:.2f} s"
            faults.append((index, Reason.MALFORMED, detail))
            continue
        if energies is None:
            continue
        part = energies[int(start / FRAME_SECONDS) : max(1, int(stop / FRAME_SECONDS))]
        if detail := _silence(part, request.speech):
            faults.append((index, Reason.SILENT, detail))
    return faults


def _silence(energies: np.ndarray, speech: bool) -> str:
    """Why these frames cannot be speech (or, with `speech` False, any sound), or '' when they can."""
    if not energies.any():
        return "every sample is 0"
    if not speech:
        return ""
    levels = 10 * np.log10(energies + 1e-12)
    if levels.max() < QUIETEST_SPEECH:
        return f"the loudest frame is at {levels.max():.0f} dB of full scale"
    low, high = np.percentile(levels, [5, 95])
    if len(levels) >= 10 and high - low < STEADY_NOISE:
        return f"a steady level within {high - low:.1f} dB"
    return ""
