"""Sound files of any length in constant memory: read in blocks, resampled there and back, written whole or not at all.

A process gets a file's samples as an iterator of blocks at its own sampling rate, and gives an iterator of blocks of as
many samples in all. Blocks may have any length; memory grows with them and not with the file.
"""

import itertools
import logging
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import soundfile
import torch
from torch import Tensor
from torchaudio.transforms import Resample

from steps.inference.cost import Stopwatch, peak_memory
from steps.inference.device import device_name
from steps.inference.shares import of_job
from steps.inference.wav import new_wav
from utils import atomic

SUFFIXES = (".aif", ".aiff", ".au", ".caf", ".flac", ".mp3", ".oga", ".ogg", ".opus", ".w64", ".wav")
SUBTYPES = ("FLOAT", "PCM_16", "PCM_24")
BLOCK = 1 << 16  # samples
# Kaiser-windowed sinc of 64 zero crossings: 0.95 of the lower rate's band passes, and aliases are below 100 dB.
ZEROS, ROLLOFF = 64, 0.9475937167399596
LARGEST_RATIO = 1000  # of the reduced fraction: 44100 to 16000 Hz is 441 to 160; the filters' size is its square

Blocks = Iterable[Tensor]


@dataclass(frozen=True)
class Sound:
    """A file of one channel that was read to its end: `rate` in Hz, its number of `samples`."""

    path: Path
    rate: int
    samples: int

    @property
    def seconds(self) -> float:
        """Its duration."""
        return self.samples / self.rate


def find_sounds(paths: Sequence[Path]) -> list[Path]:
    """The files among `paths` and the audio files anywhere below the directories, sorted by name.

    Raises FileNotFoundError for a path that is not there, ValueError for a directory without audio and for two files
    of one stem, whose outputs would have one name.
    """
    found: list[Path] = []
    for path in paths:
        if not path.exists():
            raise FileNotFoundError(f"{path}: there is no such file or directory")
        inside = [path]
        if path.is_dir():
            inside = [file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES and file.is_file()]
            inside = [file for file in inside if not any(p.startswith(".") for p in file.relative_to(path).parts)]
            if not inside:
                raise ValueError(f"{path}: no audio in this directory; expected files in {' '.join(SUFFIXES)}")
        found += inside
    by_stem: dict[str, Path] = {}
    for file in sorted(found, key=lambda file: (file.name, str(file))):
        other = by_stem.setdefault(file.stem, file)
        if other is not file:
            raise ValueError(
                f"{other} and {file} are both called {file.stem}, and so would be what is made of them: "
                f"rename one, or give them to two calls with different --out"
            )
    return list(by_stem.values())


def check_sound(path: Path) -> Sound:
    """What is known of a file after it was read to its end.

    Raises FileNotFoundError, and ValueError for a file that is no audio, is empty, has several channels or a sample
    that is not a finite number.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: there is no such file")
    try:
        with soundfile.SoundFile(path) as file:
            if file.channels != 1:
                raise ValueError(
                    f"{path}: {file.channels} channels, expected one. Take one of them, each may hold another talker: "
                    f"`sox in.wav out.wav remix 1`; or their average: `ffmpeg -i in.wav -ac 1 out.wav`"
                )
            rate, samples = file.samplerate, 0
            while len(block := file.read(BLOCK, dtype="float32")):
                finite = np.isfinite(block)
                if not finite.all():
                    place = (samples + int(np.argmin(finite))) / rate
                    raise ValueError(
                        f"{path}: the sample at {place:.3f} s is not a finite number; write the file again"
                    )
                samples += len(block)
    except (soundfile.LibsndfileError, TypeError) as error:  # TypeError: a file called .raw has no header
        reason = " ".join(str(error).split())
        raise ValueError(
            f"{path}: no audio that can be read ({reason}). If a player plays it, convert it: "
            f"`ffmpeg -i in.m4a -ac 1 out.wav`; if not, fetch it again"
        ) from error
    if not samples:
        raise ValueError(f"{path}: no samples, only a header; leave it out, or record it again")
    return Sound(path, rate, samples)


def read_blocks(sound: Sound) -> Iterator[Tensor]:
    """Its samples, blocks (t,) of float32. Raises ValueError when the file has changed since it was checked."""
    left = sound.samples
    with soundfile.SoundFile(sound.path) as file:
        while left and len(block := file.read(min(BLOCK, left), dtype="float32")):
            left -= len(block)
            yield torch.from_numpy(block)
    if left:
        raise ValueError(f"{sound.path}: it lost {left} samples while it was worked on")


class BlockResampler:
    """Blocks (..., t) at `rate` Hz become blocks (..., t') at `new_rate` Hz, t' may be 0: joined they are what the
    whole would give, ceil(T new_rate / rate) samples. It holds back `latency` samples (of its input), which `flush`
    gives. Raises ValueError for rates without a common divisor of a useful size."""

    def __init__(self, rate: int, new_rate: int):
        shared = math.gcd(rate, new_rate)
        self.old, self.new = rate // shared, new_rate // shared
        if max(self.old, self.new) > LARGEST_RATIO:
            raise ValueError(
                f"{rate} Hz cannot be resampled to {new_rate} Hz in blocks (the ratio is {self.old}:{self.new}): "
                f"resample the file first, `sox in.wav -r {new_rate} out.wav`"
            )
        # The filter is the same every `old` samples, so a stretch that starts there, with enough of what is beside
        # it, gives what it does within the whole.
        self._beside = math.ceil(ZEROS / (min(self.old, self.new) * ROLLOFF)) + 1  # on either side, times `old`
        # Filters that are computed in float32 are up to 1e-4 off.
        filters = Resample(self.old, self.new, "sinc_interp_kaiser", ZEROS, ROLLOFF, dtype=torch.float64)
        self._resample = filters.float()
        self.reset()

    @property
    def latency(self) -> int:
        """Samples at `rate` that are held back at most."""
        return (self._beside + 1) * self.old

    def reset(self) -> None:
        """Forgets what it heard."""
        self._held: Tensor | None = None
        self._heard = self._given = 0

    def __call__(self, block: Tensor) -> Tensor:
        """(..., t) -> (..., t')."""
        context = self._beside * self.old
        if self._held is None:
            self._held = block.new_zeros(*block.shape[:-1], context)
        self._heard += block.shape[-1]
        self._held = torch.cat([self._held, block], dim=-1)
        units = max(0, (self._held.shape[-1] - 2 * context) // self.old)
        if not units:
            return block[..., :0]
        stretch = self._held[..., : 2 * context + units * self.old]
        start = self._beside * self.new
        made = self._resample(stretch)[..., start : start + units * self.new]
        self._held = self._held[..., units * self.old :].clone()
        self._given += made.shape[-1]
        return made

    def flush(self) -> Tensor:
        """(..., t'): what is left, as if silence followed. Then it is as new."""
        assert self._held is not None, "nothing was resampled"
        left = -(-self._heard * self.new // self.old) - self._given
        silence = self._held.new_zeros(*self._held.shape[:-1], self.latency)
        made = self(silence)[..., :left]
        self.reset()
        return made


def resampled(blocks: Blocks, rate: int, new_rate: int) -> Iterator[Tensor]:
    """Blocks (..., t) at `rate` Hz as blocks (..., t') at `new_rate` Hz: see BlockResampler."""
    if rate == new_rate:
        yield from blocks
        return
    resampler = BlockResampler(rate, new_rate)
    for block in blocks:
        if (made := resampler(block)).shape[-1]:
            yield made
    yield resampler.flush()


def convert(
    sound: Sound,
    rate: int,
    process: Callable[[Iterator[Tensor]], Iterator[Tensor]],
    target: Callable[[int], Path],
    subtype: str = "FLOAT",
    gain: Callable[[], float] | None = None,
) -> float:
    """Writes a WAV file for each stream that `process` makes of a file, of its rate and its number of samples.

    process: blocks (t,) at `rate` Hz -> blocks (S, t) of as many samples in all. target: number of the stream, from 1
    -> file. gain: called when all is processed; its result multiplies every stream. PCM holds nothing above full
    scale: with a PCM `subtype` streams that go beyond are turned down, all by one factor, so that neither their
    ratio nor their shape changes. Returns by how many dB that is (0 or less).
    """
    streams = resampled(process(resampled(read_blocks(sound), sound.rate, rate)), rate, sound.rate)
    with ExitStack() as stack:
        paths, peak = _write_floats(sound, streams, target, stack)
        factor = 1.0 if gain is None else gain()
        largest = 1.0 if subtype == "FLOAT" else 1 - 2.0 ** -(int(subtype.removeprefix("PCM_")) - 1)
        loudest = peak * abs(factor)
        if subtype != "FLOAT" and loudest > largest:
            turned = 20 * math.log10(largest / loudest)
            factor *= largest / loudest
            logging.info("%s: its outputs are turned down by %.1f dB, to fit into %s", sound.path, -turned, subtype)
        else:
            turned = 0.0
        if factor != 1 or subtype != "FLOAT":
            for path in paths:
                with atomic.output(path) as scaled:
                    _rewrite(path, scaled, factor, subtype)
    return turned


def _write_floats(
    sound: Sound, streams: Iterator[Tensor], target: Callable[[int], Path], stack: ExitStack
) -> tuple[list[Path], float]:
    """Temporary float32 files of the streams, which become the targets when `stack` ends; and the largest sample."""
    left, peak = sound.samples, 0.0
    first = next(streams)
    paths = [stack.enter_context(atomic.output(target(number + 1))) for number in range(len(first))]
    with ExitStack() as opened:
        files = [opened.enter_context(new_wav(path, sound.rate, sound.samples, "FLOAT")) for path in paths]
        for block in itertools.chain([first], streams):
            block = block[:, :left].to("cpu", torch.float32)
            if block.shape[1]:
                left -= block.shape[1]
                peak = max(peak, float(block.abs().max()))
                for file, samples in zip(files, block.numpy(), strict=True):
                    file.write(samples)
    assert left == 0, f"{left} samples of {sound.path} are missing from the output"
    return paths, peak


def _rewrite(source: Path, target: Path, factor: float, subtype: str) -> None:
    with soundfile.SoundFile(source) as file, new_wav(target, file.samplerate, file.frames, subtype) as scaled:
        while len(block := file.read(BLOCK, dtype="float64")):
            scaled.write(block * factor)


class Converter(Protocol):
    """A model that turns sounds into files, and knows what that cost."""

    def run(self, sound: Sound, folder: Path, subtype: str) -> None:
        """Writes what it makes of `sound` into `folder`, as `convert` does."""
        ...

    def stats(self) -> dict[str, Any]:
        """JSON-able: `conversion_stats` and what else is to be known."""
        ...


def convert_share(
    load: Callable[[], Converter], paths: Sequence[Path], out: Path, name: Path, subtype: str, job: int, num_jobs: int
) -> None:
    """Converts a job's share of the sounds in `paths` and writes out/stats.json; the log calls the place `name`.

    All of them are read before the model is loaded. Raises what `find_sounds` and `check_sound` raise.
    """
    files = of_job(find_sounds(paths), job, num_jobs)
    sounds = [check_sound(file) for file in files]  # all, before hours are spent on the first
    converter = load()
    for sound in sounds:
        converter.run(sound, out, subtype)
    stats = {"job": job, "num_jobs": num_jobs, **converter.stats()}
    atomic.write_json(out / "stats.json", stats)
    logging.info(
        "%s: %d files, %.0f s of audio; real-time factor %.4f (%s), %.2f GB of memory",
        *(name, len(sounds), stats["audio_seconds"], stats["rtf"], stats["device"]),
        stats["peak_memory"]["host"] / 1e9,
    )


def conversion_stats(model: torch.nn.Module, device: torch.device, watch: Stopwatch, seconds: float) -> dict[str, Any]:
    """JSON-able: what so many seconds of audio cost (`watch.seconds["all"]` of work), and on which machine."""
    spent = {name: round(value, 3) for name, value in watch.seconds.items()}
    return {
        "audio_seconds": round(seconds, 3),
        "seconds": spent,
        "rtf": round(spent.get("all", 0.0) / max(seconds, 1e-9), 6),
        "threads": torch.get_num_threads(),
        "device": device_name(device),
        "parameters": sum(value.numel() for value in model.parameters()),
        "peak_memory": peak_memory(),
    }
