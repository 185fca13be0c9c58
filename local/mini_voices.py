"""The speakers of the mini corpus: variants of eSpeak NG's voices with a pitch, a rate and a range of their own.

Variants were chosen by measuring the fundamental frequency of ma1, ma2 and ma4: left out are those that
whisper, croak, echo, speak on one note or turn a tone round. A variant belongs to one split, so that the
voices of dev and test are new in timbre and not only in pitch.
"""

import random
from dataclasses import dataclass

TRAIN_MEN = """Andy Denis Diogo Gene2 Henrique Hugo Lee Mario Michael Storm Tweaky adam boris david ed
    edward gustave iven3 john klatt2 klatt3 klatt5 m1 m2 m4 m5 m6 m8 max michel mike2 norbert pablo paul quincy rob"""
TRAIN_WOMEN = "Alicia linda f1 f2 f4 grandma shelby steph2 zac"
VARIANTS = {
    "train": {"M": TRAIN_MEN, "F": TRAIN_WOMEN},
    "dev": {"M": "Mike klatt4 miguel robert", "F": "Annie f5"},
    "test": {"M": "Gene Nguyen m3 m7 victor", "F": "belinda f3 steph"},
}

PITCH = (35, 65)  # of 0 to 100; 50 is the variant's own
RANGE = (45, 80)  # of 0 to 100; below 40 the four tones run together
RATE = (150, 205)  # words of five letters a minute; 3.9 to 5.3 syllables a second


@dataclass(frozen=True)
class Voice:
    """What the synthesiser needs to know of a speaker."""

    variant: str
    gender: str  # M or F
    pitch: int
    rate: int
    range: int


def voices(split: str, count: int, seed: int) -> list[Voice]:
    """`count` different voices of a split; a variant comes again, with other values, when all were used.

    The order alternates between the genders as long as both last, so that a few voices are a mixture too.
    """
    rng = random.Random(f"{seed} voices {split}")
    men, women = (rng.sample(names.split(), len(names.split())) for names in VARIANTS[split].values())
    step = len(men) // len(women) + 1
    order = [(name, "M") for name in men]
    for number, name in enumerate(women):
        order.insert(1 + number * step, (name, "F"))
    result: list[Voice] = []
    while len(result) < count:
        variant, gender = order[len(result) % len(order)]
        voice = Voice(variant, gender, rng.randint(*PITCH), rng.randint(*RATE), rng.randint(*RANGE))
        if voice not in result:
            result.append(voice)
    return result
