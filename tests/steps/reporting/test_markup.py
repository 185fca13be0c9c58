"""Elements are balanced, and text cannot become markup."""

import pytest

from steps.reporting.markup import Markup, join, language, tag, text


def test_text_is_escaped_once():
    assert text('<b a="1">&') == "&lt;b a=&quot;1&quot;&gt;&amp;"
    assert text(text("<")) == "&lt;"
    assert join("<", Markup("<br>"), None, [1, ["&", 2.5]]) == "&lt;<br>1&amp;2.5"


def test_elements_hold_children_and_attributes():
    made = tag("a", "x < y", tag("i", "z"), class_="big", aria_label='"q"', hidden=True, title=None, open=False)
    assert made == '<a class="big" aria-label="&quot;q&quot;" hidden>x &lt; y<i>z</i></a>'
    assert tag("td", 0) == "<td>0</td>"


def test_void_elements_have_no_end():
    assert tag("img", alt="") == '<img alt="">'
    with pytest.raises(ValueError, match="<img> cannot have children"):
        tag("img", "x")


def test_language_of_text():
    assert language("打开 the door") == "zh-CN"
    assert language("THE DOOR 12") is None
