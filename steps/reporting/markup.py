"""HTML that cannot be unbalanced or unescaped: elements are made by `tag`, and text is escaped on the way in."""

import re
from collections.abc import Iterable
from html import escape

VOID = frozenset({"br", "hr", "img", "input", "meta", "source", "col"})
HAN = re.compile(r"[㐀-鿿豈-﫿\U00020000-\U0003ffff]")


class Markup(str):
    """A string that is HTML already."""

    __slots__ = ()


Child = str | int | float | None | Iterable["Child"]


def text(value: str | int | float) -> Markup:
    """The value, escaped; Markup stays as it is."""
    return value if isinstance(value, Markup) else Markup(escape(str(value), quote=True))


def join(*children: Child) -> Markup:
    """All children one after another; None counts as nothing, sequences are flattened."""
    parts: list[str] = []
    for child in children:
        if isinstance(child, str | int | float):
            parts.append(text(child))
        elif child is not None:
            parts.append(join(*child))
    return Markup("".join(parts))


def tag(name: str, /, *children: Child, **attributes: str | int | float | bool | None) -> Markup:
    """An element, for instance `tag("p", "a < b", class_="note")`.

    A trailing `_` of an attribute's name is dropped, other `_` become `-`; True gives a bare attribute,
    False and None leave it out. Raises ValueError for children of an element that can have none.
    """
    written = []
    for key, value in attributes.items():
        key = key.rstrip("_").replace("_", "-")
        if value is True:
            written.append(f" {key}")
        elif value is not None and value is not False:
            written.append(f' {key}="{text(value)}"')
    opening = f"<{name}{''.join(written)}>"
    if name in VOID:
        if children:
            raise ValueError(f"<{name}> cannot have children")
        return Markup(opening)
    return Markup(f"{opening}{join(*children)}</{name}>")


def language(value: str) -> str | None:
    """`zh-CN` for text with Han characters, else None: what goes into a `lang` attribute."""
    return "zh-CN" if HAN.search(value) else None
