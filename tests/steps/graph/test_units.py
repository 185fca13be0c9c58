"""Units of each kind: round trips, unknown text, and what an incomplete directory says."""

import json
import pickle

import pytest

from steps.graph.lexicon import Lexicon
from steps.graph.units import Units

ENGLISH = ["WE CALL IT BEAR", "WE CALL", "IT IS A BEAR", "CALL A BEAR"]


def test_chinese_characters_have_no_spaces(make_units, commands):
    units = make_units(commands)
    assert units.kind == "char" and units.info["words"] == "token" and units.info["spaces"] is False
    ids = units.encode("打开 客厅 的 灯")
    assert ids == units.encode("打开客厅的灯") and len(ids) == 6 and min(ids) > 1
    assert units.decode(ids) == "打开客厅的灯"
    assert units.words("打开 灯") == ["打", "开", "灯"]
    assert units.join(["打", "开", "灯"]) == "打开灯"
    assert units.size == 2 + len(set("".join(commands)) - {" "})


def test_what_the_training_text_lacks_is_unk(make_units, commands):
    units = make_units(commands)
    assert [units.tokens[i] for i in units.encode("关 窗 A")] == ["关", "<unk>", "<unk>"]
    assert units.words("关窗") == ["关", "<unk>"]


def test_rare_characters_become_unk(make_units, commands):
    units = make_units(commands, min_count=2)
    assert [units.tokens[i] for i in units.encode("打开明天")] == ["打", "开", "<unk>", "天"]
    assert "<unk>" in units.lexicon  # trained, so the graph may find it
    assert units.info["training_unknown_tokens"] == 7  # 把 了 明 气 怎 么 样
    assert "<unk>" not in make_units(commands).lexicon


def test_english_characters_mark_the_beginning_of_words(make_units):
    units = make_units(ENGLISH)
    assert units.info["words"] == "word" and units.info["spaces"] is True
    ids = units.encode(" WE  CALL ")
    assert [units.tokens[i] for i in ids] == list("▁WE▁CALL")
    assert units.decode(ids) == "WE CALL"
    assert units.lexicon["BEAR"] == [tuple("▁BEAR")]
    assert units.words("WE CALL SAM") == ["WE", "CALL", "SAM"]
    assert units.join(["WE", "CALL"]) == "WE CALL"


def test_words_in_characters(make_units, commands):
    units = make_units(commands, words="word")
    assert units.lexicon["客厅"] == [("客", "厅")]
    assert units.words("打开客厅的灯") == ["打开", "客厅", "的", "灯"]  # cut, where spaces were lost
    assert units.join(["打开", "客厅"]) == "打开客厅"


@pytest.mark.parametrize("bpe_type", ["unigram", "bpe"])
def test_bpe_round_trip_and_clamping(make_units, bpe_type, tmp_path, caplog):
    with caplog.at_level("INFO"):
        units = make_units(ENGLISH, units="bpe", vocab_size=300, bpe_type=bpe_type)
    assert units.size < 300 and f"lang.vocab_size=300: the text gives {units.size} pieces" in caplog.text
    assert units.decode(units.encode("CALL IT BEAR")) == "CALL IT BEAR"
    assert units.tokens[:2] == ["<blk>", "<unk>"] and max(units.encode("WE CALL")) < units.size
    spelled = [token for word in ("CALL", "BEAR") for token in units.lexicon[word][0]]
    assert [units.tokens[i] for i in units.encode("CALL BEAR")] == spelled
    assert units.encode("Q")[-1] == 1
    model = (tmp_path / "lang" / "bpe.model").read_bytes()
    make_units(ENGLISH, units="bpe", vocab_size=300, bpe_type=bpe_type)
    assert (tmp_path / "lang" / "bpe.model").read_bytes() == model


def test_bpe_of_chinese_ignores_the_spaces(make_units, commands):
    units = make_units(commands, units="bpe", vocab_size=60, bpe_type="bpe")
    assert units.info["words"] == "token"
    assert units.encode("打开 客厅") == units.encode("打开客厅")
    assert units.decode(units.encode("打开 客厅")) == "打开客厅"
    assert not any(token.startswith("▁") for token in units.tokens)
    assert units.join(units.words("打开 客厅")) == "打开客厅"


def test_phones_from_a_lexicon(make_units, commands):
    lexicon = Lexicon([("打开", ["d", "a3", "k", "ai1"]), ("灯", ["d", "eng1"]), ("客", ["k", "e4"])])
    units = make_units(commands, lexicon, units="phone")
    assert units.decode(units.encode("打开 灯")) == "d a3 k ai1 d eng1"
    assert units.encode("打开灯") == units.encode("打开 灯")
    assert units.decode(units.encode("客搭窗")) == "k e4 <unk> <unk>"  # no entry tells what these are in its phones
    assert units.decode(units.encode("客打")) == "k e4 d a3"  # cut from 打开
    assert units.words("打开灯") == ["打开", "灯"]
    assert units.info["training_unknown_tokens"] > 0 and "<unk>" in units.lexicon


def test_phones_of_unseen_words_are_read_as_in_training(make_units, commands):
    units = make_units(commands, units="phone")
    assert units.lexicon["客厅"] == [("k", "e4", "t", "ing1")]
    assert units.decode(units.encode("课 听")) == "k e4 t ing1"
    assert units.decode(units.encode("女")) == "<unk>"  # the training text has no n
    english = make_units(["A BEAT", "SEE TEA BOAT"], units="phone", g2p="espeak")
    assert english.decode(english.encode("BEE SEAT")) == "b iː s iː t"
    assert pickle.loads(pickle.dumps(english)).encode("BEE") == english.encode("BEE")


def test_encode_returns_a_list_of_its_own(make_units, commands):
    units = make_units(commands)
    units.encode("关灯").append(99)
    assert 99 not in units.encode("关灯")


@pytest.mark.parametrize("missing", ["tokens.txt", "words.txt", "lexicon.txt", "lang.json", "bpe.model"])
def test_an_incomplete_directory_says_what_makes_it(make_units, tmp_path, missing):
    make_units(ENGLISH, units="bpe", vocab_size=30)
    (tmp_path / "lang" / missing).unlink()
    with pytest.raises(FileNotFoundError, match=rf"no {missing}; python3 -m steps.prepare_lang \(stage 3\)"):
        Units.load(tmp_path / "lang")


def test_damaged_directories_are_refused(make_units, commands, tmp_path):
    make_units(commands)
    folder = tmp_path / "lang"
    good = (folder / "tokens.txt").read_text(encoding="utf-8")
    (folder / "tokens.txt").write_text(good.replace("<blk>", "<eps>"), encoding="utf-8")
    with pytest.raises(ValueError, match="expected <blk> and <unk> as tokens 0 and 1"):
        Units.load(folder)
    (folder / "tokens.txt").write_text(good, encoding="utf-8")
    (folder / "lang.json").write_text("{")
    with pytest.raises(ValueError, match=r"lang.json: not JSON"):
        Units.load(folder)
    (folder / "lang.json").write_text(json.dumps({"units": "wordpiece"}))
    with pytest.raises(ValueError, match="units='wordpiece': expected one of char, bpe, phone"):
        Units.load(folder)
