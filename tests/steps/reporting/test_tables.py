"""Tables show the figures that they were given, at the places that belong to them."""

import re

import pytest

from steps.reporting.tables import WHISKER_WIDTH, Bar, bar_table, duration, facts, figure, grid_table, results_table

SYSTEMS = [
    {"name": "a", "metrics": {"cer": {"value": 5.0, "low": 0.0, "high": 10.0, "unit": "%"}, "rtf": {"value": 0.0123}}},
    {"name": "b<i>", "metrics": {"cer": {"value": 2.5, "low": 2.0, "high": 3.004, "unit": "%"}}},
]


def cells(table: str) -> list[list[str]]:
    """The text of each cell of each row."""
    rows = re.findall(r"<tr>(.*?)</tr>", table, re.DOTALL)
    return [[re.sub("<[^>]+>", "", c) for c in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row)] for row in rows]


def test_results_have_a_column_for_each_metric_and_for_more():
    head, first, second = cells(results_table(SYSTEMS, [("dev", ["1", "2"])]))
    assert [head[0], head[1], head[3], head[4]] == ["System", "CER, %", "RTF", "dev"]
    assert first == ["a", "5.00 0.00 – 10.00", "", "0.0123", "1"]
    assert second == ["b&lt;i&gt;", "2.50 2.00 – 3.00", "", "–", "2"]


def test_intervals_share_one_axis():
    table = results_table(SYSTEMS)
    spans = re.findall(r'<line x1="([\d.]+)" x2="([\d.]+)"[^>]*class="span">', table)
    left, right = 8, WHISKER_WIDTH - 8
    at = [left + (right - left) * value / 10 for value in (0, 10, 2, 3.004)]
    assert [float(x) for span in spans for x in span] == pytest.approx(at, abs=0.06)


def test_metrics_without_intervals_have_no_axis():
    assert "<svg" not in results_table([{"name": "a", "metrics": {"pesq": {"value": 2.9}}}])


def test_bars_are_in_proportion():
    table = bar_table(
        ["Stage", "Time", "State"], [Bar("train", 30.0, "30 s", ("done",)), Bar("数据", 10.0, "10 s", ("",))]
    )
    assert re.findall(r"--share:([\d.]+)", table) == ["1.0000", "0.3333"]
    assert 'lang="zh-CN"' in table
    assert cells(table)[1] == ["train", "30 s", "done"]
    assert "--share:0.0000" in bar_table(["a", "b"], [Bar("none", 0.0, "0")])


def test_a_grid_shades_by_value_and_frames_the_choice():
    values = {(0.5, 0.0): 4.0, (0.5, 1.0): 6.0, (1.0, 0.0): 5.0, (1.0, 1.0): 8.0}
    table = grid_table(("scale", [0.5, 1.0]), ("bonus", [0.0, 1.0]), values, (1.0, 0.0))
    assert re.findall(r"--shade:([\d.]+)", table) == ["0.00", "0.50", "0.25", "1.00"]
    assert re.findall(r'chosen"[^>]*>([\d.]+)<', table) == ["5.00"]


def test_facts_without_a_value_are_left_out():
    assert re.findall("<dt>(.*?)</dt>", facts([("a", 0), ("b", None), ("c", ""), ("d", "x")])) == ["a", "d"]


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0.04, "0.0 s"), (59.9, "59.9 s"), (245, "4 min 05 s"), (7620, "2 h 07 min")]
)
def test_durations(seconds, shown):
    assert duration(seconds) == shown


@pytest.mark.parametrize(
    ("value", "unit", "shown"), [(0.428, "%", "0.43"), (0.00757, "", "0.00757"), (12, None, "12.00")]
)
def test_figures(value, unit, shown):
    assert figure(value, unit) == shown
