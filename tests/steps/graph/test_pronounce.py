"""Pronunciations: the lexicon's, those learned from it, initials and finals, eSpeak's."""

import pytest

from steps.graph.config import LangConfig
from steps.graph.lexicon import Lexicon
from steps.graph.pronounce import Espeak, Pronouncer, split_syllable


def spaced(entries: dict[str, str]) -> Lexicon:
    """A lexicon from words and phones with spaces between them."""
    return Lexicon((word, phones.split()) for word, phones in entries.items())


def test_unknown_words_are_spelled_in_the_lexicons_phones():
    lexicon = spaced({"中": "ZH ONG_1", "钟": "ZH ONG_1", "终": "x x", "国": "G UO_2", "重": "D UNNO", "客厅": "K T"})
    pronounce = Pronouncer(LangConfig(units="phone"), lexicon)
    assert pronounce("客厅") == [("K", "T")]
    assert pronounce("忠国") == [("ZH", "ONG_1", "G", "UO_2")]  # 忠 reads zhong1, which most have as ZH ONG_1
    assert pronounce("重国") == [("D", "UNNO", "G", "UO_2")]  # two readings teach nothing; its own entry counts
    assert pronounce("灯") == []
    assert pronounce("LAMP") == []
    assert Pronouncer(LangConfig(units="phone", g2p="none"), lexicon)("忠") == []


def test_syllables_are_cut_from_longer_words_where_the_phones_allow():
    words = {"中国": "ZH ONG_1 G UO_2", "工人": "G ONG_1 R EN_2", "安全": "aa an1 Q AN_2"}
    pronounce = Pronouncer(LangConfig(units="phone"), spaced(words))
    assert pronounce("全国人") == [("Q", "AN_2", "G", "UO_2", "R", "EN_2")]
    uneven = Pronouncer(LangConfig(units="phone"), spaced({**words, "安": "an1"}))
    assert uneven("全国人") == [] and uneven("氨") == [("an1",)]


def test_without_a_lexicon_initials_and_finals():
    pronounce = Pronouncer(LangConfig(units="phone"), None)
    assert pronounce("中国") == [("zh", "ong1", "g", "uo2")]
    assert pronounce("银行") == [("in2", "h", "ang2")]  # in context: hang2, not xing2
    assert split_syllable("lv4") == ["l", "v4"]


def test_espeak_reads_english():
    pronounce = Pronouncer(LangConfig(units="phone", g2p="espeak"), None)
    assert pronounce("BEAT") == [("b", "iː", "t")]
    assert pronounce("CHEESE") == [("tʃ", "iː", "z")]
    assert pronounce("...") == []
    assert pronounce("中") == [("zh", "ong1")]
    assert Espeak("en-us")("beat", stress=True) == ("b", "ˈiː", "t")


def test_an_unknown_voice_is_named():
    with pytest.raises(ValueError, match=r"lang.g2p_voice=xx-nowhere"):
        Espeak("xx-nowhere")
