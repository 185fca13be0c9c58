"""What the page says about a recogniser's errors."""

import json
import re

import numpy as np
import pytest

from steps.metrics.edit_distance import Scored, count
from steps.reporting import asr
from steps.reporting.sound import Sound

SILENCE = Sound(np.zeros(1600, dtype=np.float32), 16000, np.zeros((10, 80), dtype=np.float32))


def scored(name: str, ref: str, hyp: str, speaker: str = "s") -> Scored:
    """An utterance whose characters stand one over another; `-` is no character."""
    pairs = [(None if r == "-" else r, None if h == "-" else h) for r, h in zip(ref, hyp, strict=True)]
    return Scored(name, speaker, ref, hyp, pairs, count(pairs))


UTTERANCES = [
    scored("right", "你好", "你好", "甲"),
    scored("two", "今天天气", "明天天-", "甲"),
    scored("short-two", "灯-", "开灯", "乙"),
    scored("one", "北京", "北平", "乙"),
]


def test_worst_have_most_errors_then_fewest_tokens():
    assert [u.id for u in asr.worst(UTTERANCES)] == ["short-two", "two", "one"]


def test_worst_are_limited():
    many = [scored(f"{n:02}", "你", "-") for n in range(30)]
    assert [u.id for u in asr.worst(many)] == [f"{n:02}" for n in range(asr.MOST_UTTERANCES)]


def test_errors_by_type_add_up():
    content = asr.error_types(UTTERANCES).content
    assert "5 errors in 9 reference tokens." in content
    assert "Substitutions: 3 (33.33 %)" in content
    assert "Deletions: 1 (11.11 %)" in content and "Insertions: 1 (11.11 %)" in content
    assert "京 → 平" in content


def test_speakers_are_ranked_by_rate():
    content = asr.speakers(UTTERANCES, "CER").content
    rows = re.findall(r'<th scope="row"[^>]*>(\w+)</th>.*?class="figure">([\d.]+) %', content)
    assert rows == [("乙", "100.00"), ("甲", "33.33")]


def test_many_speakers_are_cut_and_said_to_be():
    many = [scored(f"u{n}", "你", "你", f"s{n:03}") for n in range(asr.MOST_SPEAKERS + 3)]
    content = asr.speakers(many, "CER").content
    assert content.count("<tr>") == asr.MOST_SPEAKERS + 1
    assert f"The {asr.MOST_SPEAKERS} worst of {asr.MOST_SPEAKERS + 3} speakers." in content


def test_sweep_shows_rates_of_dev():
    rows = [{"graph_scale": s, "word_bonus": b, "errors": round(10 * s + b)} for s in (0.5, 1.0) for b in (0.0, 1.0)]
    system = {
        "name": "graph_nbest",
        "sweep": rows,
        "chosen": {"graph_scale": 0.5, "word_bonus": 0.0},
        "dev": {"errors": {"tokens": 200}},
    }
    content = asr.sweep(system, "CER").content
    assert re.findall(r"--shade:[\d.]+\">([\d.]+)<", content) == ["2.50", "3.00", "5.00", "5.50"]
    assert re.findall(r'chosen"[^>]*>([\d.]+)<', content) == ["2.50"]


def test_utterances_are_shown_with_their_sound():
    content = asr.worst_utterances(UTTERANCES, {"two": SILENCE}, "ctc_greedy").content
    assert re.findall("<h3>(.*?)</h3>", content) == ["short-two", "two", "one"]
    assert content.count("<audio") == 1 and content.count("No sound") == 2
    assert "speaker 甲 · 1 substituted, 1 deleted · 4 tokens · 50.0\u00a0%" in content


def test_sound_takes_no_more_room_than_it_may(monkeypatch):
    monkeypatch.setattr(asr, "MOST_SOUND", 100)
    content = asr.worst_utterances(UTTERANCES, {u.id: SILENCE for u in UTTERANCES}, "x").content
    assert content.count("<audio") == 1


def test_a_system_without_errors():
    assert "x made no error." in asr.worst_utterances(UTTERANCES[:1], {}, "x").content
    assert "0 errors in 2 reference tokens." in asr.error_types(UTTERANCES[:1]).content


def test_scored_utterances_are_read_back(tmp_path):
    file = tmp_path / "per_utterance.jsonl"
    file.write_text("".join(json.dumps(u.to_dict()) + "\n" for u in UTTERANCES), encoding="utf-8")
    assert asr.read_scored(file) == UTTERANCES
    assert asr.read_scored(tmp_path / "none.jsonl") == []


@pytest.mark.parametrize("ref", ["", "-"])
def test_an_utterance_without_reference_has_no_rate(ref):
    content = asr.worst_utterances([scored("a", ref + "-", "好" * len(ref) + "啊")], {}, "x").content
    assert "0 tokens</p>" in content
