"""Alignments: what is marked, what is counted, what is read aloud."""

import re

from steps.reporting.alignment import aligned, confusions, kind

PAIRS = [("打", "打"), ("开", "关"), ("灯", None), (None, "了")]


def test_kinds():
    assert [kind(pair) for pair in PAIRS] == ["ok", "sub", "del", "ins"]


def test_every_token_is_shown_in_its_place_and_marked():
    made = aligned(PAIRS)
    found = re.findall(r'class="pair (\w+)"[^>]*><span class="ref">(.*?)</span><span class="hyp">(.*?)</span>', made)
    assert found == [("ok", "打", "打"), ("sub", "开", "关"), ("del", "灯", "·"), ("ins", "·", "了")]
    assert "Reference: 打开灯. Hypothesis: 打关了." in made
    assert "开 was recognised as 关" in made and "灯 was left out" in made and "了 was put in" in made
    assert made.count('lang="zh-CN"') == 2


def test_words_are_read_with_spaces_and_escaped():
    made = aligned([("GO", "GO"), ("<B>", "HOME")])
    assert "Reference: GO &lt;B&gt;. Hypothesis: GO HOME." in made
    assert "lang=" not in made


def test_nothing_said_and_nothing_heard():
    assert "Reference: . Hypothesis: ." in aligned([])


def test_confusions_are_counted_most_frequent_first():
    found = confusions([PAIRS, PAIRS[1:2], [("八", "发")], [("", "")]])
    assert found["sub"] == [(("开", "关"), 2), (("八", "发"), 1)]
    assert found["del"] == [(("灯", None), 1)]
    assert found["ins"] == [((None, "了"), 1)]
