"""What every corpus is turned into before it is checked: a list of utterances and the problems met on the way.

A corpus module (`local.aishell` and its like) only knows where things lie. It returns a `Scan`;
`local.check` finds what is wrong with it, and `local.manifests` writes what is left for Lhotse.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from local.problems import Problem
from local.trials import Verification

SPLITS = ("train", "dev", "test")
SAMPLING_RATE = 16000  # Hz, of every recipe here


@dataclass
class Utterance:
    """One utterance as the corpus describes it; `start` and `end` are seconds in the file, None for its end."""

    id: str
    split: str
    speaker: str
    audio: Path
    text: str | None = None  # None: no usable transcript, and a problem says why
    recording: str = ""
    start: float = 0.0
    end: float | None = None
    source: str = ""  # where the user finds it: a path, or path:line
    custom: dict[str, str] | None = None  # of the supervision, for instance {"genre": "interview"}

    def __post_init__(self) -> None:
        self.recording = self.recording or self.id
        self.source = self.source or str(self.audio)


@dataclass
class Scan:
    """A corpus as found on disk.

    `shared_speakers` lists pairs of splits that share speakers in the corpus as published: their overlap is
    reported, and nothing is dropped for it. In a corpus from the wild (`wild`) only digital silence counts as
    silence: what its published trials name is scored, however faint. `options` are what the caller chose and
    the manifests depend on.
    """

    name: str
    folder: Path
    language: str | None = None
    utterances: list[Utterance] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    lexicon: list[str] = field(default_factory=list)  # lines "word phone phone ..."
    shared_speakers: frozenset[tuple[str, str]] = frozenset()
    transcribed: bool = True  # False: an utterance without text is as good as one with it
    wild: bool = False
    decode: bool = True  # False: of the audio, the headers only are read
    min_seconds: float = 0.0  # of training utterances; shorter ones are left out without being a problem
    tests: list[Verification] = field(default_factory=list)
    options: dict[str, Any] = field(default_factory=dict)
