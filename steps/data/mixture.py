"""A mixture as one row of a plan: which samples of which recordings, where, and how loud. No torch, no audio."""

import gzip
import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Source:
    """An utterance in a mixture. Samples are counted at the mixture's rate."""

    utterance: str  # id of its cut
    speaker: str
    start: int  # first sample of the utterance that is heard
    samples: int  # how many are heard
    offset: int  # the mixture's sample at which they begin
    gain: float
    room: str = ""  # id of the impulse response that it is heard through
    enrolment: str = ""  # another utterance of the speaker, to know the voice by


@dataclass(frozen=True)
class Noise:
    """A piece of a noise recording, from the mixture's first sample to its last; repeated where it is too short."""

    recording: str
    start: int
    samples: int  # of the piece
    gain: float
    snr: float  # dB, of all sources together to the noise


@dataclass(frozen=True)
class Mixture:
    """One row. The gains hold whatever keeps the mixture from clipping, which `guard` repeats."""

    id: str  # full-test-000017
    kind: str  # the set: full, partial, noisy
    split: str
    index: int
    sampling_rate: int
    samples: int
    sources: tuple[Source, ...]
    noise: Noise | None = None
    overlap: float = 1.0  # share of the shortest source during which another one is heard
    level_difference: float = 0.0  # dB of the first source above the second, in mean power of the whole utterances
    guard: float = 1.0  # common gain that keeps peaks below `mixtures.peak`
    seed: int = 0

    def to_dict(self) -> dict[str, Any]:
        """As a line of plan_<kind>_<split>.jsonl.gz holds it."""
        return asdict(self)

    @classmethod
    def from_dict(cls, row: dict[str, Any]) -> "Mixture":
        """The inverse of `to_dict`."""
        noise = Noise(**row["noise"]) if row.get("noise") else None
        return cls(**{**row, "sources": tuple(Source(**source) for source in row["sources"]), "noise": noise})


@dataclass
class Plan:
    """All mixtures of one kind and split, and the hash of what they say."""

    mixtures: list[Mixture] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        """Of all mixtures together."""
        return sum(mixture.samples / mixture.sampling_rate for mixture in self.mixtures)

    def digest(self) -> str:
        """First 16 hexadecimal digits of the SHA-256 of the rows."""
        return hashlib.sha256(plan_text(self.mixtures).encode()).hexdigest()[:16]


def plan_text(mixtures: Iterable[Mixture]) -> str:
    """The lines of a plan."""
    return "".join(json.dumps(mixture.to_dict(), ensure_ascii=False) + "\n" for mixture in mixtures)


def write_plan(mixtures: Iterable[Mixture], path: Path) -> None:
    """Writes gzipped lines; equal plans have equal bytes."""
    path.write_bytes(gzip.compress(plan_text(mixtures).encode(), mtime=0))


def read_plan(path: Path | str) -> Plan:
    """Raises FileNotFoundError naming the stage that makes it, ValueError for a file that is no plan."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist: stage 2 (mixtures) makes it")
    try:
        lines = gzip.decompress(path.read_bytes()).decode().splitlines()
        return Plan([Mixture.from_dict(json.loads(line)) for line in lines])
    except (OSError, EOFError, ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{path}: no plan of mixtures (gzipped lines of JSON): {error}") from error


def reference_file(folder: Path, number: int, mixture: str) -> Path:
    """What a network is to find of talker `number`, from 1: `target1` where it was written, as in rooms, else `s1`."""
    target = rendered_file(folder, f"target{number}", mixture)
    return target if target.exists() else rendered_file(folder, f"s{number}", mixture)


def rendered_file(folder: Path, part: str, mixture: str) -> Path:
    """Where steps.render_mixtures puts a mixture's audio; part is mix, s1, s2 ..., noise, or target1 ... in rooms."""
    return folder / part / f"{mixture}.flac"
