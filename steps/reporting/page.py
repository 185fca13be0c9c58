"""A self-contained page: style, script, pictures and sound are all in the file."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from steps.reporting.markup import Child, Markup, join, tag

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Section:
    """A part of the page. `short` is its name in the table of contents."""

    title: str
    content: Markup
    short: str = ""

    @property
    def anchor(self) -> str:
        """The fragment that leads to it."""
        return "".join(c if c.isalnum() else "-" for c in self.title.lower())


def page(title: str, lead: Child, sections: Sequence[Section], footer: Child = None) -> str:
    """The whole document. Nothing in it refers to anything outside it."""
    contents = [tag("a", section.short or section.title, href=f"#{section.anchor}") for section in sections]
    # Style and script are text of their own kind, in which nothing may be escaped.
    style = Markup(f"<style>\n{(HERE / 'page.css').read_text(encoding='utf-8')}</style>")
    script = Markup(f"<script>\n{(HERE / 'page.js').read_text(encoding='utf-8')}</script>")
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("title", title),
        # Without an icon of its own a browser asks the server for one.
        Markup('<link rel="icon" href="data:,">'),
        style,
    )
    top = tag("header", tag("h1", title), tag("p", lead, class_="lead"), tag("nav", contents, aria_label="Sections"))
    body = [tag("section", tag("h2", s.title), s.content, id=s.anchor) for s in sections]
    return join(
        Markup("<!DOCTYPE html>\n"),
        tag("html", head, tag("body", top, tag("main", body), tag("footer", footer), script), lang="en"),
    )


def cards(items: Sequence[tuple[str, str, str]]) -> Markup:
    """Large figures: name, figure, what to know about it."""
    shown = [tag("div", tag("dt", name), tag("dd", figure, tag("small", note))) for name, figure, note in items]
    return tag("dl", shown, class_="cards")


def missing(what: str, stage: int, name: str) -> Markup:
    """Says what a run has not got yet and which stage makes it."""
    return tag("p", f"No {what} yet: stage {stage} ({name}) makes it.", class_="missing")
