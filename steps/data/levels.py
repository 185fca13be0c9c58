"""How loud recordings are, measured once, so that mixtures can be planned without reading audio again."""

import gzip
import json
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pyloudnorm
from lhotse.cut import Cut

PIECE_SECONDS = 10.0  # of a noise recording: loudness changes over minutes
SHORTEST = 0.4  # seconds: a block of ITU-R BS.1770


@dataclass(frozen=True)
class Level:
    """One utterance, or one piece of a noise. Decibels are rounded to 0.01, so that all machines plan alike."""

    id: str
    recording: str
    speaker: str
    samples: int
    sampling_rate: int
    loudness: float | None  # LUFS (ITU-R BS.1770-4); None for silence, and for what is too short to measure
    power: float | None  # dB of full scale, mean square; None for silence
    peak: float  # 0 to 1, of full scale

    def length(self, sampling_rate: int) -> int:
        """Samples at another rate."""
        return -(-self.samples * sampling_rate // self.sampling_rate)


def measure(cut: Cut) -> Level:
    """The levels of a cut. Raises ValueError for samples that are not finite."""
    wave = cut.load_audio()[0]
    if not np.isfinite(wave).all():
        raise ValueError(f"{cut.id}: audio with values that are not finite; stage 1 (manifests) finds such files")
    speaker = cut.supervisions[0].speaker if cut.supervisions else ""
    mean_square = float(np.mean(np.square(wave, dtype=np.float64)))
    return Level(
        id=cut.id,
        recording=cut.recording_id,
        speaker=speaker or "",
        samples=len(wave),
        sampling_rate=cut.sampling_rate,
        loudness=_loudness(wave, cut.sampling_rate),
        power=round(10 * math.log10(mean_square), 2) if mean_square > 0 else None,
        peak=math.ceil(float(np.abs(wave).max()) * 1e5) / 1e5,
    )


def pieces(recordings: Iterable[Cut]) -> Iterator[Cut]:
    """Cuts of PIECE_SECONDS at most, `<recording>@0`, `<recording>@1`, ...: a last one under SHORTEST is left out."""
    for recording in recordings:
        count = max(1, math.ceil((recording.duration - SHORTEST) / PIECE_SECONDS))
        for number in range(count):
            start = number * PIECE_SECONDS
            duration = min(PIECE_SECONDS, recording.duration - start)
            yield recording.truncate(offset=start, duration=duration).with_id(f"{recording.id}@{number}")


def write_levels(levels: Iterable[Level], path: Path) -> None:
    """Writes lines of JSON."""
    lines = "".join(json.dumps(asdict(level), ensure_ascii=False) + "\n" for level in levels)
    path.write_bytes(gzip.compress(lines.encode(), mtime=0))


def read_levels(paths: Sequence[Path]) -> list[Level]:
    """All levels of several files, sorted by id. Raises FileNotFoundError naming the stage that makes them."""
    found = []
    for path in paths:
        if not path.is_file():
            raise FileNotFoundError(f"{path} does not exist: stage 2 (mixtures) makes it")
        found += [Level(**json.loads(line)) for line in gzip.decompress(path.read_bytes()).decode().splitlines()]
    return sorted(found, key=lambda level: level.id)


def _loudness(wave: np.ndarray, sampling_rate: int) -> float | None:
    if len(wave) < SHORTEST * sampling_rate:
        return None
    with np.errstate(divide="ignore"):
        value = pyloudnorm.Meter(sampling_rate).integrated_loudness(wave.astype(np.float64))
    return round(float(value), 2) if math.isfinite(value) else None
