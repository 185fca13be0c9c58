"""Error counts against hand-computed cases, and the files that show them."""

import json

import kaldialign
import numpy as np
import pytest

from steps.metrics.config import ScoreConfig
from steps.metrics.edit_distance import Counts, add_up, align, by_speaker, count, distance, score, tokenize
from steps.metrics.error_files import errors_text, read_scored, speakers_text, write_error_files

CHAR, WORD = ScoreConfig(), ScoreConfig(unit="word")


@pytest.mark.parametrize(
    ("ref", "hyp", "wanted"),
    [
        ("今天天气好", "今天天气好", Counts(0, 0, 0, 5)),
        ("今天天气好", "今天气很好", Counts(1, 1, 0, 5)),
        ("今天天气好", "明天天气好", Counts(0, 0, 1, 5)),
        ("今天", "", Counts(0, 2, 0, 2)),
        ("", "今天", Counts(2, 0, 0, 0)),
        ("", "", Counts(0, 0, 0, 0)),
        ("打开 A C", "打开AC", Counts(0, 0, 0, 4)),
        ("打开<", "打<unk>", Counts(0, 1, 1, 3)),
    ],
)
def test_counts_of_characters(ref: str, hyp: str, wanted: Counts) -> None:
    pairs = align(tokenize(ref, CHAR), tokenize(hyp, CHAR))
    assert count(pairs) == wanted
    assert distance(tokenize(ref, CHAR), tokenize(hyp, CHAR)) == wanted.total
    assert [r for r, _ in pairs if r is not None] == tokenize(ref, CHAR)
    assert [h for _, h in pairs if h is not None] == tokenize(hyp, CHAR)


def test_counts_of_words() -> None:
    counts = count(align(tokenize("the cat sat on a mat", WORD), tokenize("THE cats sat on mat please", WORD)))
    assert counts == Counts(insertions=1, deletions=1, substitutions=1, tokens=6)
    assert counts.rate == pytest.approx(50.0)


def test_normalisation_can_be_switched_off() -> None:
    assert tokenize("ＡＢc１", CHAR) == ["A", "B", "C", "1"]
    assert tokenize("ＡＢc１", ScoreConfig(nfkc=False, upper=False)) == ["Ａ", "Ｂ", "c", "１"]
    assert tokenize(" a  B ", ScoreConfig(unit="word", upper=False)) == ["a", "B"]


def test_totals_are_kaldialigns_on_random_strings() -> None:
    generator = np.random.default_rng(0)
    for _ in range(200):
        ref, hyp = ("".join(generator.choice(list("甲乙丙*"), generator.integers(0, 9))) for _ in range(2))
        counts = count(align(list(ref), list(hyp)))
        assert counts.total == kaldialign.edit_distance(ref, hyp)["total"]
        assert counts.tokens == len(ref)
        assert len(hyp) == counts.tokens + counts.insertions - counts.deletions


def test_sums_and_speakers() -> None:
    refs = {"b1": "一二三", "a1": "四五", "a2": ""}
    hyps = {"b1": "一二", "a1": "四五", "a2": "六"}
    scored = score(refs, hyps, {"b1": "B", "a1": "A", "a2": "A"}, CHAR)
    assert [utterance.id for utterance in scored] == ["a1", "a2", "b1"]
    assert add_up(utterance.counts for utterance in scored) == Counts(1, 1, 0, 5)
    assert {name: len(group) for name, group in by_speaker(scored).items()} == {"A": 2, "B": 1}
    assert speakers_text(scored).splitlines() == [
        "speaker\tutterances\ttokens\tins\tdel\tsub\terrors %",
        "A\t2\t2\t1\t0\t0\t50.00",
        "B\t1\t3\t0\t1\t0\t33.33",
        "TOTAL\t3\t5\t1\t1\t0\t40.00",
    ]


def test_a_speaker_without_reference_text_has_no_rate() -> None:
    scored = score({"a": "", "b": "一"}, {"a": "", "b": "一"}, {"a": "A", "b": "B"}, CHAR)
    assert "A\t1\t0\t0\t0\t0\t-" in speakers_text(scored).splitlines()


def test_errors_are_readable_and_in_columns() -> None:
    refs = {"u1": "打开灯 OK", "u2": "对"}
    scored = score(refs, {"u1": "打看灯 K 吗", "u2": "对"}, {"u1": "S1", "u2": "S1"}, CHAR)
    assert errors_text("greedy on test", scored).splitlines() == [
        "greedy on test",
        "1 of 2 utterances have errors",
        "",
        "substituted: 开 > 看 (1)",
        "deleted: O (1)",
        "inserted: 吗 (1)",
        "",
        "u1  speaker S1  60.00 %",
        "  ref  打 开 灯 O K *",
        "  hyp  打 看 灯 * K 吗",
        "          S     D   I",
        "",
    ]


def test_files_come_back(tmp_path) -> None:
    scored = score({"u": "一二三"}, {"u": "一三四"}, {"u": "S"}, CHAR)
    write_error_files(tmp_path, "title", scored)
    assert read_scored(tmp_path / "per_utterance.jsonl") == scored
    row = json.loads((tmp_path / "per_utterance.jsonl").read_text(encoding="utf-8"))
    assert row["alignment"] == [["一", "一"], ["二", None], ["三", "三"], [None, "四"]]
    assert row["errors"] == row["counts"]["total"] == 2
    (tmp_path / "other.jsonl").write_text('{"id": "u"}\n')
    with pytest.raises(ValueError, match=r"other\.jsonl: expected a per_utterance\.jsonl"):
        read_scored(tmp_path / "other.jsonl")


@pytest.mark.parametrize(
    "options", [{"unit": "phone"}, {"resample_by": "room"}, {"resamples": 3}, {"graph_scales": []}]
)
def test_config_refuses(options: dict) -> None:
    with pytest.raises(ValueError, match=f"score.{next(iter(options))}"):
        ScoreConfig(**options)
