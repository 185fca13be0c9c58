"""Rows of a plan become sound: the same samples on the fly in training as rendered for dev and test."""

import functools
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import torch
from lhotse.cut import Cut
from scipy.signal import fftconvolve
from torchaudio.transforms import Resample

from steps.data.features import one_thread
from steps.data.mixture import Mixture, rendered_file
from steps.data.mixture_corpus import sound_cuts

GRID = 1 << 23  # samples are multiples of 1 / GRID: 24-bit files hold them, and float32 adds them, without rounding


@dataclass(frozen=True)
class Rendered:
    """A mixture, all float32: `mixture` (T,) = sum of `sources` (S, T) + `noise` (T,), to the last bit.

    `targets` (S, T) are what a network is to find: the sources, or their direct sound and early reflections in a room.
    """

    mixture: np.ndarray
    sources: np.ndarray
    targets: np.ndarray
    noise: np.ndarray

    @property
    def in_room(self) -> bool:
        """Whether targets and sources differ."""
        return self.targets is not self.sources


class Sounds:
    """Waveforms (T,) of cuts by id at one rate; the last ones used are kept, up to `cache_bytes`."""

    def __init__(self, cuts: Mapping[str, Cut], sampling_rate: int, cache_bytes: int = 0):
        self.cuts, self.sampling_rate, self.cache_bytes = cuts, sampling_rate, cache_bytes
        self.kept: OrderedDict[str, np.ndarray] = OrderedDict()
        self.bytes = 0

    def wave(self, id: str) -> np.ndarray:
        """The whole waveform, float32. Raises ValueError naming a cut that the corpus has not."""
        if id in self.kept:
            self.kept.move_to_end(id)
            return self.kept[id]
        if id not in self.cuts:
            raise ValueError(f"the plan mixes {id}, which the cuts do not have: make stage 2 (mixtures) again")
        wave = resampled(self.cuts[id].load_audio()[0], self.cuts[id].sampling_rate, self.sampling_rate)
        self.kept[id] = wave
        self.bytes += wave.nbytes
        while self.bytes > self.cache_bytes and self.kept:
            self.bytes -= self.kept.popitem(last=False)[1].nbytes
        return wave


def render(mixture: Mixture, sounds: Sounds, early_seconds: float) -> Rendered:
    """The sound of a row. Raises ValueError where an utterance has not the samples that were planned."""
    shape = len(mixture.sources), mixture.samples
    sources = np.zeros(shape, np.float32)
    heard_in_rooms = any(source.room for source in mixture.sources)
    targets = np.zeros(shape, np.float32) if heard_in_rooms else sources
    for row, source in enumerate(mixture.sources):
        wave, early = sounds.wave(source.utterance), None
        if source.room:
            wave, early = in_room(wave, sounds.wave(source.room), round(early_seconds * sounds.sampling_rate))
        heard = slice(source.start, source.start + source.samples)
        place = slice(source.offset, source.offset + source.samples)
        if len(wave[heard]) != source.samples:
            raise ValueError(
                f"{mixture.id}: {source.utterance} has {len(wave)} samples, fewer than the plan takes from it; "
                f"the audio has changed since: make stage 2 (mixtures) again"
            )
        sources[row, place] = on_grid(wave[heard] * source.gain)
        if heard_in_rooms:
            targets[row, place] = on_grid(wave[heard] * source.gain if early is None else early[heard] * source.gain)
    noise = np.zeros(mixture.samples, np.float32)
    if mixture.noise is not None:
        start, count = mixture.noise.start, mixture.noise.samples
        piece = sounds.wave(mixture.noise.recording)[start : start + count]
        noise = on_grid(np.resize(piece, mixture.samples) * mixture.noise.gain)
    return Rendered(sources.sum(axis=0) + noise, sources, targets, noise)


def in_room(wave: np.ndarray, response: np.ndarray, early: int) -> tuple[np.ndarray, np.ndarray]:
    """(T,) heard in a room and its part up to `early` samples after the direct sound, both (T,) and in time with it.

    Scaled so that the peak stays what it was.
    """
    direct = int(np.abs(response).argmax())
    wet = fftconvolve(wave, response)[direct : direct + len(wave)]
    close = fftconvolve(wave, response[: direct + early])[direct : direct + len(wave)]
    scale = np.abs(wave).max() / max(np.abs(wet).max(), np.abs(close).max(), 1e-9)
    return (wet * scale).astype(np.float32), (close * scale).astype(np.float32)


def on_grid(wave: np.ndarray) -> np.ndarray:
    """Rounded to multiples of 1 / GRID, float32."""
    return (np.rint(wave.astype(np.float64) * GRID) / GRID).astype(np.float32)


def resampled(wave: np.ndarray, before: int, after: int) -> np.ndarray:
    """(T,) at `before` Hz -> (ceil(T * after / before),) float32 at `after` Hz."""
    wave = np.ascontiguousarray(wave, dtype=np.float32)
    if before == after:
        return wave
    with one_thread():
        return _resampler(before, after)(torch.from_numpy(wave)).numpy()


def write_rendered(rendered: Rendered, mixture: Mixture, folder: Path) -> None:
    """mix, s1, s2 ... and noise (where there is some) as 24-bit FLAC; target1 ... besides where they are not s1 ...

    Folders must exist.
    """
    parts = {"mix": rendered.mixture}
    parts |= {f"s{row}": source for row, source in enumerate(rendered.sources, start=1)}
    if rendered.in_room:
        parts |= {f"target{row}": target for row, target in enumerate(rendered.targets, start=1)}
    if mixture.noise is not None:
        parts["noise"] = rendered.noise
    for part, wave in parts.items():
        # As integers: libsndfile's own conversion from float scales by 2^23 - 1.
        samples = np.rint(wave.astype(np.float64) * GRID).astype(np.int32) << 8
        soundfile.write(rendered_file(folder, part, mixture.id), samples, mixture.sampling_rate, subtype="PCM_24")


@functools.cache
def _resampler(before: int, after: int) -> Resample:
    return Resample(before, after)


def parts_of(mixtures: Iterable[Mixture]) -> list[str]:
    """The folders that `write_rendered` needs for all of them."""
    found = {"mix": None}
    for mixture in mixtures:
        numbers = range(1, len(mixture.sources) + 1)
        found |= dict.fromkeys(f"s{number}" for number in numbers)
        if any(source.room for source in mixture.sources):
            found |= dict.fromkeys(f"target{number}" for number in numbers)
        if mixture.noise is not None:
            found["noise"] = None
    return list(found)


def render_to(data: Path, early_seconds: float, row: tuple[Path, Mixture]) -> None:
    """Renders one mixture of the corpus in `data` and writes it below a folder: (folder, mixture)."""
    folder, mixture = row
    sounds = _corpus(data, mixture.split, mixture.sampling_rate)
    write_rendered(render(mixture, sounds, early_seconds), mixture, folder)


@functools.cache
def _corpus(data: Path, split: str, sampling_rate: int) -> Sounds:
    return Sounds(sound_cuts(data, split), sampling_rate, cache_bytes=256 << 20)
