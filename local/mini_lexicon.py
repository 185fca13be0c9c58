"""Pronunciations of the mini corpus: pinyin for the synthesiser, initials and toned finals for the lexicon."""

from collections.abc import Iterable

from pypinyin import Style, lazy_pinyin
from pypinyin.contrib.tone_convert import to_finals_tone3, to_initials

# Where the dictionary has another reading, or no neutral tone. Later ones are variants in context.
READINGS = {
    "一": ("yi1", "yi4"),
    "一共": ("yi2 gong4",),
    "一刻": ("yi2 ke4",),
    "调": ("tiao2",),
    "调到": ("tiao2 dao4",),
    "妈妈": ("ma1 ma5",),
    "爸爸": ("ba4 ba5",),
    "哥哥": ("ge1 ge5",),
    "姐姐": ("jie3 jie5",),
    "弟弟": ("di4 di5",),
    "妹妹": ("mei4 mei5",),
    "谢谢": ("xie4 xie5",),
    "早上": ("zao3 shang5",),
    "晚上": ("wan3 shang5",),
    "前面": ("qian2 mian5",),
    "后面": ("hou4 mian5",),
}
FALLING_AFTER_ONE = frozenset(("百", "千", "张", "间"))  # 一 is said with tone 4 before tones 1, 2 and 3
_APICAL = {initial: "iy" for initial in ("z", "c", "s")} | {"zh": "ix", "ch": "ix", "sh": "ix", "r": "iz"}
_SHORTENED = {"iou": "iu", "uei": "ui", "uen": "un"}


def readings(word: str) -> tuple[str, ...]:
    """Pronunciations of a word as syllables of pinyin with tone numbers, 5 for the neutral tone, v for ü."""
    if word in READINGS:
        return READINGS[word]
    syllables = lazy_pinyin(word, style=Style.TONE3, neutral_tone_with_five=True, v_to_u=False)
    return (" ".join(syllables),)


def spelled_for_speech(text: str) -> str:
    """A sentence of words with spaces as the synthesiser reads it: the syllables of a word joined.

    The sandhi of 一 is written out; that of the third tone is the synthesiser's own.
    """
    words, result = text.split(), []
    for word, following in zip(words, [*words[1:], ""], strict=True):
        variants = readings(word)
        falling = word == "一" and following in FALLING_AFTER_ONE
        result.append(variants[-1 if falling else 0].replace(" ", ""))
    return " ".join(result)


def phones(syllable: str) -> list[str]:
    """Initial and toned final of a syllable: zhi4 -> zh ix4, wen2 -> uu un2, er4 -> ee er4.

    The names are those of AISHELL-1's lexicon: a syllable without an initial begins with the doubled first
    letter of its final (uen, with u), and the i of zi, zhi and ri are three phones.
    """
    initial = to_initials(syllable, strict=True)
    toned = to_finals_tone3(syllable, strict=True, neutral_tone_with_five=True, v_to_u=False)
    final, tone = toned[:-1], toned[-1]
    if final == "i":
        final = _APICAL.get(initial, "i")
    return [initial or final[0] * 2, _SHORTENED.get(final, final) + tone]


def lexicon(words: Iterable[str]) -> list[str]:
    """Lines "word phone phone ..." in the order of `words`, silence and noise first, as in AISHELL-1's."""
    lines = ["SIL sil", "<SPOKEN_NOISE> sil"]
    for word in words:
        for reading in readings(word):
            lines.append(" ".join([word, *(phone for s in reading.split() for phone in phones(s))]))
    return lines
