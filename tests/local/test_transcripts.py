"""Text files read without trusting them."""

from pathlib import Path

import pytest

from local.corpus import Scan, Utterance
from local.problems import Reason
from local.transcripts import Entry, normalise, pair, read_entries, read_lexicon, unique


def test_normalise_is_what_lhotse_does_but_for_the_spaces() -> None:
    from lhotse.recipes.aishell import text_normalize

    line = "ａ 而  对 ｂｃ楼市 abc ｋｔ"
    assert normalise(line) == " ".join(text_normalize(line).split()) == "A 而 对 BC楼市 ABC KT"
    assert normalise("　全角　空格 ２０２４ Ｚ") == "全角 空格 2024 Z"


def test_byte_order_mark_and_dos_line_ends_are_removed_with_a_warning(tmp_path: Path) -> None:
    file = tmp_path / "text"
    file.write_bytes("\ufeffu1\t你好 世界\r\n\r\nu2  a b \r\nu3\n".encode())
    problems = []
    entries = read_entries(file, problems)
    assert [(e.key, e.value) for e in entries] == [("u1", "你好 世界"), ("u2", "a b"), ("u3", "")]
    assert [e.source for e in entries] == [f"{file}:{n}" for n in (1, 3, 4)]
    assert [(p.reason, p.warning) for p in problems] == [
        (Reason.BYTE_ORDER_MARK, True),
        (Reason.LINE_ENDS, True),
    ]
    assert "3 lines" in problems[1].detail


def test_a_line_in_another_encoding_is_a_problem_of_its_utterance(tmp_path: Path) -> None:
    file = tmp_path / "text"
    file.write_bytes("u1 好\n".encode() + "u2 你好\n".encode("gb18030") + b"u3 ok\n")
    problems = []
    assert [(e.key, e.value) for e in read_entries(file, problems)] == [
        ("u1", "好"),
        ("u2", None),
        ("u3", "ok"),
    ]
    (problem,) = problems
    assert (problem.reason, problem.file, problem.utterance) == (Reason.ENCODING, f"{file}:2", "u2")
    assert "GB18030" in problem.reason.way_out


def test_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_entries(tmp_path / "text", [])


def test_pair_reports_what_has_no_counterpart(tmp_path: Path) -> None:
    scan, problems = Scan("x", tmp_path), []
    texts = unique([Entry("a", "ｋ 一", "t:1"), Entry("b", " ", "t:2"), Entry("c", "三", "t:3")], problems)
    pair(scan, [Utterance(id, "train", "s", tmp_path / f"{id}.wav") for id in "abd"], texts)
    found = {(p.reason, p.utterance, p.file) for p in scan.problems}
    assert found == {
        (Reason.NO_TEXT, "b", "t:2"),
        (Reason.UNTRANSCRIBED, "d", str(tmp_path / "d.wav")),
        (Reason.UNRECORDED, "c", "t:3"),
    }
    assert {u.id: u.text for u in scan.utterances} == {"a": "K 一", "b": "", "d": None}
    assert problems == []


def test_repeated_keys_name_both_lines() -> None:
    problems = []
    first = unique([Entry("a", "1", "t:1"), Entry("a", "2", "t:2")], problems)
    assert first["a"].value == "1"
    assert (problems[0].reason, problems[0].file, problems[0].utterance) == (Reason.DUPLICATE, "t:2", "a")
    assert "t:1" in problems[0].detail


def test_lexicon_words_are_normalised_as_transcripts_are(tmp_path: Path) -> None:
    file = tmp_path / "lexicon.txt"
    file.write_text("ａ  ee ei1\nA ee ei1\n好 h ao3\r\n坏\n", encoding="utf-8")
    problems = []
    assert read_lexicon(file, problems) == ["A ee ei1", "好 h ao3"]
    assert [p.reason for p in problems] == [Reason.LINE_ENDS, Reason.MALFORMED]
    assert "'坏' has no pronunciation" in problems[1].detail
