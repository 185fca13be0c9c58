"""Pronunciations of words: from a lexicon, from pypinyin for Chinese, from eSpeak NG for the rest."""

import ctypes
import os
from collections import Counter, defaultdict

from steps.graph.config import LangConfig
from steps.graph.lexicon import Lexicon, Pronunciation
from steps.graph.text import is_chinese

STRESS_MARKS = "ˈˌ"


class Pronouncer:
    """Gives the pronunciations of a word in the phones of one set.

    A word of the lexicon has those of the lexicon. Another Chinese word is read by pypinyin as a whole and spelled
    syllable by syllable in the lexicon's phones, as learned from its own Chinese words; a syllable not
    learned is taken from the character's own entry. Without a lexicon a syllable is its initial and its final
    with the tone. Any other word is left to eSpeak NG, if `config.g2p` says so.
    """

    def __init__(self, config: LangConfig, lexicon: Lexicon | None):
        self._config = config
        self._lexicon = lexicon
        self._syllables: dict[str, Pronunciation] | None = None
        self._espeak: Espeak | None = None

    def __call__(self, word: str) -> list[Pronunciation]:
        """Returns the pronunciations; none where nothing here can read the word."""
        if self._lexicon and word in self._lexicon:
            return self._lexicon[word]
        if self._config.g2p != "none" and is_chinese(word):
            return self._read_chinese(word)
        if self._config.g2p == "espeak":
            self._espeak = self._espeak or Espeak(self._config.g2p_voice)
            phones = self._espeak(word, self._config.g2p_stress)
            return [phones] if phones else []
        return []

    def _read_chinese(self, word: str) -> list[Pronunciation]:
        if self._syllables is None:
            self._syllables = learn_syllables(self._lexicon) if self._lexicon else {}
        phones: list[str] = []
        for character, syllable in zip(word, read_syllables(word), strict=True):
            if not syllable.isascii():  # a character that pypinyin does not know comes back as it is
                return []
            if not self._lexicon:
                phones.extend(split_syllable(syllable))
            elif syllable in self._syllables:
                phones.extend(self._syllables[syllable])
            elif character in self._lexicon:
                phones.extend(self._lexicon[character][0])
            else:
                return []
        return [tuple(phones)]


class Espeak:
    """eSpeak NG's rules and dictionary for single words, through the library of the wheel espeakng-loader."""

    SYNCHRONOUS, UTF8, IPA = 2, 1, 2
    SEPARATOR = ord("_") << 8  # bits 8 to 23 of the mode: what stands between phones

    def __init__(self, voice: str):
        import espeakng_loader

        self._library = ctypes.CDLL(espeakng_loader.get_library_path())
        data = os.fsencode(espeakng_loader.get_data_path())
        if self._library.espeak_Initialize(self.SYNCHRONOUS, 0, data, 0) < 0:
            raise OSError(f"eSpeak NG does not start with the voices in {os.fsdecode(data)}")
        if self._library.espeak_SetVoiceByName(voice.encode()) != 0:
            raise ValueError(f"lang.g2p_voice={voice}: eSpeak NG has no such voice; en-us and en-gb are two it has")
        self._read = self._library.espeak_TextToPhonemes
        self._read.argtypes = [ctypes.POINTER(ctypes.c_char_p), ctypes.c_int, ctypes.c_int]
        self._read.restype = ctypes.c_char_p

    def __call__(self, word: str, stress: bool = False) -> Pronunciation:
        """Returns the IPA phones of `word`, () for one that has no letters; stress marks only if asked for.

        Read in lower case: eSpeak spells out some words in capitals.
        """
        rest = ctypes.c_char_p(word.lower().encode())
        phones: list[str] = []
        while rest.value:
            clause = self._read(ctypes.byref(rest), self.UTF8, self.IPA | self.SEPARATOR) or b""
            phones.extend(clause.decode().replace(" ", "_").split("_"))
        if not stress:
            phones = [phone.strip(STRESS_MARKS) for phone in phones]
        return tuple(phone for phone in phones if phone.strip(STRESS_MARKS))


def read_syllables(word: str) -> list[str]:
    """The toned syllable of each character of a Chinese word, as "ni3" (5 is the neutral tone), read in context."""
    from pypinyin import Style, lazy_pinyin

    read = lazy_pinyin(word, style=Style.TONE3, neutral_tone_with_five=True, errors=list)
    assert len(read) == len(word), f"pypinyin reads {word} as {read}"
    return read


def split_syllable(syllable: str) -> list[str]:
    """Initial and toned final of a syllable: "zhong1" -> ["zh", "ong1"], "an4" -> ["an4"]."""
    from pypinyin.contrib.tone_convert import to_finals_tone3, to_initials

    initial = to_initials(syllable)
    final = to_finals_tone3(syllable, neutral_tone_with_five=True)
    return [phone for phone in (initial, final) if phone]


def learn_syllables(lexicon: Lexicon) -> dict[str, Pronunciation]:
    """Each toned syllable's pronunciation in the lexicon's phones: the one it has most often.

    Words of one character tell it where the character has only one reading. Where all Chinese words have the same
    number of phones for each character, as with initials and finals, longer words are cut and tell it too.
    """
    from pypinyin import Style, pinyin

    chinese = [(word, phones) for word, phones in lexicon.entries if is_chinese(word)]
    rates = {len(phones) / len(word) for word, phones in chinese}
    rate = int(rates.pop()) if len(rates) == 1 else 0
    votes: dict[str, Counter[Pronunciation]] = defaultdict(Counter)
    for word, phones in chinese:
        if len(word) == 1:
            readings = pinyin(word, style=Style.TONE3, heteronym=True, neutral_tone_with_five=True)[0]
            if len(readings) == 1:
                votes[readings[0]][phones] += 1
        elif rate:
            for i, syllable in enumerate(read_syllables(word)):
                votes[syllable][phones[i * rate : (i + 1) * rate]] += 1
    return {syllable: counts.most_common(1)[0][0] for syllable, counts in votes.items()}
