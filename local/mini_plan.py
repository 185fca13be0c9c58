"""Who says what, where: the plan of the mini corpus, made before a sample is computed.

Each choice comes from a generator keyed by (seed, id), so that neither the number of jobs nor their order
changes the corpus; the plan is written beside the audio.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from local.corpus import SPLITS
from local.mini_text import sentences
from local.mini_voices import Voice, voices

NOISE_KINDS = ("coloured", "hum", "clicks", "babble")
TALKERS = 5  # voices in a babble


@dataclass
class SplitSize:
    """Voices of a split, and sentences that each of them says."""

    voices: int
    sentences: int


@dataclass
class MiniConfig:
    """Sizes and recording conditions of the mini corpus. Ranges are [least, most]."""

    seed: int = 0
    train: SplitSize = field(default_factory=lambda: SplitSize(52, 32))
    dev: SplitSize = field(default_factory=lambda: SplitSize(6, 30))
    test: SplitSize = field(default_factory=lambda: SplitSize(8, 36))
    t60: list[float] = field(default_factory=lambda: [0.15, 0.45])  # seconds
    direct_to_reverb: list[float] = field(default_factory=lambda: [3.0, 15.0])  # dB
    snr: list[float] = field(default_factory=lambda: [10.0, 30.0])  # dB
    level: list[float] = field(default_factory=lambda: [-32.0, -20.0])  # dB of full scale
    pause: list[float] = field(default_factory=lambda: [0.1, 0.3])  # seconds before and after
    noises: int = 8  # of each kind, for augmentation
    noise_seconds: float = 8.0

    def __post_init__(self) -> None:
        for name in ("t60", "direct_to_reverb", "snr", "level", "pause"):
            values = getattr(self, name)
            if len(values) != 2 or values[0] > values[1]:
                raise ValueError(f"{name} is {list(values)}, expected [least, most]")
        if self.t60[0] <= 0 or self.pause[0] < 0:
            raise ValueError("t60 must be above 0 seconds, and pause 0 or more")
        for split in SPLITS:
            size = getattr(self, split)
            if size.voices < 1 or size.sentences < 1:
                raise ValueError(f"{split} needs a voice and a sentence at least, not {size}")


@dataclass(frozen=True)
class Recording:
    """One utterance of the plan."""

    id: str
    split: str
    speaker: str  # S0001
    text: str
    voice: Voice
    t60: float  # seconds
    direct_to_reverb: float  # dB
    snr: float  # dB
    slope: float  # of the noise's spectrum: see mini_room.coloured
    hum: bool
    level: float  # dB of full scale
    before: float  # seconds
    after: float  # seconds


@dataclass(frozen=True)
class Noise:
    """One noise for augmentation; a babble is voices, each with the sentences that it says without a pause."""

    id: str  # coloured_000
    kind: str
    seconds: float
    talkers: tuple[tuple[Voice, tuple[str, ...]], ...] = ()


def make_plan(config: MiniConfig) -> list[Recording]:
    """All utterances in the order of their ids. Speakers are numbered through the splits, as AISHELL's are."""
    sizes = {split: getattr(config, split) for split in SPLITS}
    texts = sentences({split: size.voices * size.sentences for split, size in sizes.items()}, config.seed)
    plan, number = [], 0
    for split, size in sizes.items():
        lines = iter(texts[split])
        for voice in voices(split, size.voices, config.seed):
            number += 1
            speaker = f"S{number:04d}"
            for count in range(size.sentences):
                id = f"BAC009{speaker}W{121 + count:04d}"
                plan.append(_recording(config, id, split, speaker, next(lines), voice))
    return plan


def _recording(config: MiniConfig, id: str, split: str, speaker: str, text: str, voice: Voice) -> Recording:
    rng = random.Random(f"{config.seed} {id}")

    def draw(least: float, most: float) -> float:
        return round(rng.uniform(least, most), 3)

    return Recording(
        id=id,
        split=split,
        speaker=speaker,
        text=text,
        voice=voice,
        t60=draw(*config.t60),
        direct_to_reverb=draw(*config.direct_to_reverb),
        snr=draw(*config.snr),
        slope=draw(0.3, 1.8),
        hum=rng.random() < 0.3,
        level=draw(*config.level),
        before=draw(*config.pause),
        after=draw(*config.pause),
    )


def make_noise_plan(config: MiniConfig, plan: Sequence[Recording]) -> list[Noise]:
    """Noises of each kind; the voices and sentences of babble are those of train."""
    heard = [recording for recording in plan if recording.split == "train"]
    noises = []
    for kind in NOISE_KINDS:
        for number in range(config.noises):
            id, talkers = f"{kind}_{number:03d}", []
            rng = random.Random(f"{config.seed} {id}")
            for _ in range(TALKERS if kind == "babble" else 0):
                texts = tuple(rng.choice(heard).text for _ in range(int(config.noise_seconds) + 2))
                talkers.append((rng.choice(heard).voice, texts))
            noises.append(Noise(id, kind, config.noise_seconds, tuple(talkers)))
    return noises
