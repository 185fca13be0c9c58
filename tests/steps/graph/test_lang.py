"""Making lang directories: what is in the vocabulary, and what is refused."""

import pytest

from steps.graph import lang
from steps.graph.config import GraphConfig, LangConfig
from steps.graph.lexicon import Lexicon, read_symbols


def test_files_of_a_lang_directory(make_units, commands, tmp_path):
    make_units(commands)
    folder = tmp_path / "lang"
    characters = sorted(set("".join(commands)) - {" "})
    assert read_symbols(folder / "tokens.txt") == ["<blk>", "<unk>", *characters]
    assert read_symbols(folder / "words.txt") == ["<eps>", *characters, "<unk>", "#0", "<s>", "</s>"]
    assert (folder / "lexicon.txt").read_text(encoding="utf-8").splitlines()[0] == f"{characters[0]} {characters[0]}"


def test_evaluation_text_is_counted_and_not_added(make_units, commands):
    units = make_units(commands)
    said = lang.count_unknown(units, ["关 窗", "窗 门"])
    assert said == (
        "2 sentences: 3 of 4 tokens are <unk>; 3 of 4 words of the graph (1 different) are not in words.txt"
    )
    assert "窗" not in units.tokens


def test_extra_text_brings_words_but_no_tokens(make_units, commands):
    units = make_units(commands, extra=["把 灯 打开 了", "开关 灯", "窗帘 开"], words="word")
    plain = make_units(commands, words="word")
    assert set(units.lexicon.words) - set(plain.lexicon.words) == {"开关", "开"}
    assert units.tokens == plain.tokens


def test_extra_words_in_phones(make_units):
    lexicon = Lexicon([("灯", ["d", "eng1"]), ("登", ["d", "eng1"]), ("门", ["m", "en2"])])
    units = make_units(["灯 灯"], lexicon, ["登 门"], units="phone")
    assert units.tokens == ["<blk>", "<unk>", "d", "eng1"]
    assert units.lexicon.words == ["灯", "登"]
    assert units.info["disambiguation_symbols"] == 3  # #0, and two homophones


def test_only_words_of_the_text_enter(make_units):
    lexicon = Lexicon([("打开", ["d", "k"]), ("打", ["d"]), ("开关", ["k", "g"]), ("SIL", ["sil"])])
    units = make_units(["打开", "打打开"], lexicon, units="phone")
    assert units.lexicon.words == ["打", "打开"] and units.tokens[2:] == ["d", "k"]


@pytest.mark.parametrize(
    ("values", "texts", "message"),
    [
        ({"words": "word"}, ["打开灯", "关灯"], r"lang.words=word: the text has no spaces; give --lexicon"),
        ({"units": "bpe", "words": "word"}, ["打开 灯"], r"use lang.words=token"),
        ({"units": "phone", "words": "token"}, ["打开 灯"], r"use lang.words=word"),
        ({"units": "phone", "g2p": "none"}, ["打开 灯"], r"give --lexicon, or lang.g2p"),
        ({"units": "phone"}, ["A BEAR"], r"no word of the training text has a pronunciation.*espeak"),
        ({}, ["", ""], "the training text is empty"),
        ({"units": "bpe", "vocab_size": 5}, ["ABCDEFGH IJKL"], r"lang.vocab_size=5: .* 13 different characters"),
    ],
)
def test_what_does_not_suffice_is_refused(make_units, values, texts, message):
    with pytest.raises(ValueError, match=message):
        make_units(texts, **values)


@pytest.mark.parametrize(
    ("config", "values", "message"),
    [
        (LangConfig, {"units": "syllable"}, "lang.units=syllable: expected one of char, bpe, phone"),
        (LangConfig, {"min_count": 0}, "lang.min_count=0: expected 1 or more"),
        (LangConfig, {"g2p": "phonetisaurus"}, "none, pypinyin, espeak"),
        (GraphConfig, {"branches": 1}, "graph.branches=1: expected 2 or more"),
    ],
)
def test_settings_are_checked(config, values, message):
    with pytest.raises(ValueError, match=message):
        config(**values)
