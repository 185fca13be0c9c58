"""What is chosen when a corpus for speaker recognition is prepared: the dev set, and how its audio is taken."""

import argparse
import hashlib
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from local.corpus import Scan


@dataclass(frozen=True)
class Choices:
    """See the help of `add_options`."""

    dev_speakers: int = 60
    seed: int = 0
    min_seconds: float = 0.0
    check_audio: str = "all"

    @classmethod
    def of(cls, args: argparse.Namespace) -> "Choices":
        """From the options of a command line."""
        return cls(**{field.name: getattr(args, field.name) for field in fields(cls)})

    def new_scan(self, name: str, folder: Path, language: str | None = None, **options: Any) -> Scan:
        """A scan without utterances that will be checked as chosen; `options` are choices of the corpus's own."""
        decode = self.check_audio == "all"
        named = {key.replace("_", " "): value for key, value in (asdict(self) | options).items()}
        return Scan(
            name,
            folder,
            language,
            transcribed=False,
            wild=True,
            decode=decode,
            min_seconds=self.min_seconds,
            options=named,
        )


def add_options(parser: argparse.ArgumentParser, dev_speakers: int = Choices.dev_speakers) -> None:
    """Adds the options that `Choices.of` reads."""
    shown = f" (default {dev_speakers})"
    parser.add_argument("--dev-speakers", type=int, default=dev_speakers, help="speakers held out of training" + shown)
    parser.add_argument("--seed", type=int, default=Choices.seed, help="which speakers these are (default 0)")
    parser.add_argument(
        "--min-seconds", type=float, default=Choices.min_seconds, help="leave shorter utterances out of training"
    )
    parser.add_argument(
        "--check-audio",
        choices=("all", "headers"),
        default=Choices.check_audio,
        help="decode all audio (default), or read its headers and believe them",
    )


def hold_out(speakers: Iterable[str], count: int, seed: int) -> set[str]:
    """`count` of the training speakers, to be the dev set of a corpus that has none.

    They are those with the least SHA-256 of "seed speaker": the same on every machine, and hardly others when
    a few speakers are added. Raises ValueError unless there are more speakers than that.
    """
    speakers = sorted(set(speakers))
    if not 0 < count < len(speakers):
        raise ValueError(f"--dev-speakers is {count}, expected 1 to {len(speakers) - 1}: there are {len(speakers)}")
    return set(sorted(speakers, key=lambda name: hashlib.sha256(f"{seed} {name}".encode()).digest())[:count])
