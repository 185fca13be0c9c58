"""Who speaks where, and who is compared with whom: the plan of the mini corpus for speaker recognition.

A speaker is a voice: a variant of eSpeak NG with a pitch, a rate and a range. Variants are disjoint between training,
its held-out speakers and the evaluation; the speakers of one variant differ in pitch by an eighth and more. A
genre is a recording condition, and a session a draw from it: a room, a background, a level, and how the speaker then
speaks. Each choice comes from a generator keyed by (seed, id), so that neither number nor order of jobs changes it.
"""

import random
from collections.abc import Iterable
from dataclasses import dataclass, replace

from local.mini_text import sentence
from local.mini_voices import RANGE, RATE, VARIANTS, Voice
from local.speaker_choices import hold_out

EVAL_FIRST, SECOND_FIRST = 800, 10_000  # numbers of the first evaluation speaker, and of the first of CN-Celeb2
SECOND_SHARE = 4  # one training speaker of so many is in CN-Celeb2
PITCH_BANDS = ((28, 36), (46, 54), (64, 72))  # of 0 to 100; 50 is the variant's own
SHORTEST, LONGEST = 10, 20  # syllables
EVAL_VARIANTS, DEV_VARIANTS = {"M": 12, "F": 4}, {"M": 8, "F": 2}  # of 45 and 14; the rest train


@dataclass(frozen=True)
class Genre:
    """A recording condition. Pairs are (least, most) of what a session draws."""

    rate: float  # times the speaker's own
    pitch: int  # added to the speaker's own
    range: int  # added to the speaker's own
    background: str  # see local.mini_speaker_sound
    band: tuple[float, float]  # Hz, of the line
    snr: tuple[float, float]  # dB
    tilt: tuple[float, float]  # dB an octave, of the microphone
    t60: tuple[float, float]  # seconds
    direct_to_reverb: tuple[float, float]  # dB
    level: tuple[float, float]  # dB of full scale


WIDE, LINE, CAMERA = (40.0, 8000.0), (300.0, 3400.0), (150.0, 6000.0)
GENRES = {
    "interview": Genre(1.0, 0, 0, "room", WIDE, (22, 32), (-1, 1), (0.15, 0.3), (8, 16), (-28, -20)),
    "speech": Genre(0.9, 4, 6, "room", WIDE, (15, 24), (-1, 2), (0.5, 0.8), (0, 6), (-26, -18)),
    "vlog": Genre(1.08, 3, 4, "street", CAMERA, (6, 15), (0, 3), (0.1, 0.2), (8, 16), (-34, -22)),
    "live_broadcast": Genre(1.18, 3, 4, "hum", LINE, (10, 20), (-1, 1), (0.2, 0.4), (4, 12), (-24, -16)),
    "recitation": Genre(0.84, -4, 8, "room", WIDE, (18, 28), (-3, 0), (0.2, 0.5), (4, 12), (-32, -24)),
    "entertainment": Genre(1.1, 5, 8, "music", WIDE, (4, 12), (-2, 2), (0.3, 0.5), (2, 10), (-24, -16)),
}


@dataclass
class MiniSpeakersConfig:
    """Sizes of the mini corpus for speaker recognition."""

    seed: int = 0
    speakers: int = 64  # to train on, with those held out
    dev_speakers: int = 12  # of them; what --dev-speakers of the preparation then is by default
    genres: int = 3  # of each training speaker
    sessions: int = 2  # of each genre
    utterances: int = 4  # of each session
    enrolled: int = 20  # evaluation speakers
    unknown: int = 6  # evaluation speakers without a model
    constituents: int = 3  # utterances that a model is enrolled from
    tests: int = 10  # of each evaluation speaker
    noises: int = 8  # of each kind, for augmentation
    noise_seconds: float = 8.0
    rirs: int = 40  # room impulse responses, for augmentation

    def __post_init__(self) -> None:
        for name in ("dev_speakers", "genres", "sessions", "utterances", "enrolled", "constituents", "tests"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, expected 1 or more")
        if not self.dev_speakers < self.speakers <= EVAL_FIRST:
            raise ValueError(f"speakers is {self.speakers}, expected {self.dev_speakers + 1} to {EVAL_FIRST}")
        if self.genres > len(GENRES):
            raise ValueError(f"genres is {self.genres}, expected at most {len(GENRES)}: {', '.join(GENRES)}")


@dataclass(frozen=True)
class Spoken:
    """One utterance of the plan."""

    path: str  # of the audio below the corpus
    split: str  # train, dev or eval
    speaker: str  # id00000
    genre: str
    session: str  # "id00000 speech 1": what all of its utterances share is keyed by it
    text: str
    voice: Voice
    background: str
    band: tuple[float, float]  # Hz
    snr: float  # dB
    tilt: float  # dB an octave
    t60: float  # seconds
    direct_to_reverb: float  # dB
    level: float  # dB of full scale
    before: float  # seconds
    after: float  # seconds


def make_plan(config: MiniSpeakersConfig) -> list[Spoken]:
    """All utterances: of the training speakers, then of each evaluation speaker its constituents and its tests."""
    names = [_training_name(number) for number in range(config.speakers)]
    held_out = hold_out(names, config.dev_speakers, 0)
    plan: list[Spoken] = []
    for split in ("train", "dev"):
        own = [name for name in names if (name in held_out) == (split == "dev")]
        for name, voice in zip(own, speaker_voices(split, len(own), config.seed), strict=True):
            plan += _training_speaker(config, name, split, voice)
    names = [f"id{EVAL_FIRST + number:05d}" for number in range(config.enrolled + config.unknown)]
    for number, voice in enumerate(speaker_voices("eval", len(names), config.seed)):
        plan += _evaluation_speaker(config, names[number], voice, number < config.enrolled)
    return plan


def _training_name(number: int) -> str:
    second = number % SECOND_SHARE == SECOND_SHARE - 1
    return f"id{SECOND_FIRST + number // SECOND_SHARE if second else number:05d}"


def is_second(speaker: str) -> bool:
    """Whether a speaker is in CN-Celeb2."""
    return int(speaker.removeprefix("id")) >= SECOND_FIRST


def speaker_voices(split: str, count: int, seed: int) -> list[Voice]:
    """`count` different voices of train, dev or eval, in an order that mixes the genders.

    A variant comes again when all were used, in another band of pitches; after the third time bands come again too.
    """
    rng = random.Random(f"{seed} voices {split}")
    order = _variants(split, seed)
    bands = {variant: rng.sample(PITCH_BANDS, len(PITCH_BANDS)) for variant, _ in order}
    result: list[Voice] = []
    while len(result) < count:
        again, number = divmod(len(result), len(order))
        variant, gender = order[number]
        band = bands[variant][again % len(PITCH_BANDS)]
        voice = Voice(variant, gender, rng.randint(*band), rng.randint(*RATE), rng.randint(*RANGE))
        if voice not in result:
            result.append(voice)
    return result


def _variants(split: str, seed: int) -> list[tuple[str, str]]:
    """The variants of a split with their genders, shuffled."""
    chosen = []
    for gender in "MF":
        names = sorted(name for group in VARIANTS.values() for name in group[gender].split())
        random.Random(f"{seed} variants {gender}").shuffle(names)
        first = EVAL_VARIANTS[gender]
        last = first + DEV_VARIANTS[gender]
        own = {"eval": names[:first], "dev": names[first:last], "train": names[last:]}[split]
        chosen += [(name, gender) for name in own]
    random.Random(f"{seed} order {split}").shuffle(chosen)
    return chosen


def _training_speaker(config: MiniSpeakersConfig, name: str, split: str, voice: Voice) -> Iterable[Spoken]:
    folder = f"{'CN-Celeb2_flac' if is_second(name) else 'CN-Celeb_flac'}/data/{name}"
    for genre in random.Random(f"{config.seed} {name}").sample(sorted(GENRES), config.genres):
        for session in range(1, config.sessions + 1):
            shared = _session(config, split, name, genre, session, voice)
            for number in range(1, config.utterances + 1):
                yield _utterance(config, shared, f"{folder}/{genre}-{session:02d}-{number:03d}.flac")


def _evaluation_speaker(config: MiniSpeakersConfig, name: str, voice: Voice, enrolled: bool) -> Iterable[Spoken]:
    """A model's utterances are of one session; two tests of five are of its genre, but of another session."""
    home, *others = random.Random(f"{config.seed} {name}").sample(sorted(GENRES), len(GENRES))
    shared = _session(config, "eval", name, home, 1, voice)
    for number in range(1, (config.constituents if enrolled else 0) + 1):
        yield _utterance(config, shared, f"CN-Celeb_flac/data/{name}/{home}-01-{number:03d}.flac")
    for number in range(config.tests):
        at_home, away = number % 5 < 2, number // 5 * 3 + number % 5 - 2
        genre = home if at_home else others[away % len(others)]
        shared = _session(config, "eval", name, genre, 2 if at_home else 1, voice)
        yield _utterance(
            config, shared, f"CN-Celeb_flac/eval/test/{name}-{genre}-{2 if at_home else 1:02d}-{number + 1:03d}.flac"
        )


def _session(config: MiniSpeakersConfig, split: str, name: str, genre: str, number: int, voice: Voice) -> Spoken:
    """What the utterances of a session share; path, text and pauses are still empty."""
    session, kind = f"{name} {genre} {number}", GENRES[genre]
    rng = random.Random(f"{config.seed} {session}")
    then = replace(
        voice,
        pitch=voice.pitch + kind.pitch + rng.randint(-3, 3),
        rate=round(voice.rate * kind.rate * rng.uniform(0.95, 1.05)),
        range=voice.range + kind.range + rng.randint(-3, 3),
    )
    names = ("snr", "tilt", "t60", "direct_to_reverb", "level")
    drawn = {name: round(rng.uniform(*getattr(kind, name)), 3) for name in names}
    return Spoken("", split, name, genre, session, "", then, kind.background, kind.band, **drawn, before=0.0, after=0.0)


def _utterance(config: MiniSpeakersConfig, shared: Spoken, path: str) -> Spoken:
    rng = random.Random(f"{config.seed} {path}")
    text = ""
    while not SHORTEST <= _syllables(text) <= LONGEST:
        text = f"{text} {sentence(rng)}".strip() if _syllables(text) < SHORTEST else ""
    pauses = {name: round(rng.uniform(0.1, 0.4), 3) for name in ("before", "after")}
    snr, level = (round(value + rng.uniform(-1.5, 1.5), 3) for value in (shared.snr, shared.level))
    return replace(shared, path=path, text=text, snr=snr, level=level, **pauses)


def _syllables(text: str) -> int:
    """A character is a syllable."""
    return len(text.replace(" ", ""))
