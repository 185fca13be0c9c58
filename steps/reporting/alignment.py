"""Reference over hypothesis, token by token, with errors marked by colour and by shape."""

from collections import Counter
from collections.abc import Iterable, Sequence

from steps.metrics.edit_distance import Pair
from steps.reporting.markup import Markup, language, tag

NAMES = {"ok": "correct", "sub": "substituted", "del": "deleted", "ins": "inserted"}


def kind(pair: Pair) -> str:
    """ok, sub, del or ins."""
    reference, hypothesis = pair
    if hypothesis is None:
        return "del"
    if reference is None:
        return "ins"
    return "ok" if reference == hypothesis else "sub"


def aligned(pairs: Sequence[Pair]) -> Markup:
    """The pairs as columns that wrap at the edge of the page; what is said to a screen reader is in words."""
    cells = [
        tag(
            "span",
            tag("span", reference if reference is not None else "·", class_="ref"),
            tag("span", hypothesis if hypothesis is not None else "·", class_="hyp"),
            class_=f"pair {kind((reference, hypothesis))}",
            title=_spoken((reference, hypothesis)),
        )
        for reference, hypothesis in pairs
    ]
    joiner = "" if language("".join(r or h or "" for r, h in pairs)) else " "
    said = [joiner.join(token for token in side if token is not None) for side in zip(*pairs, strict=True)]
    reference, hypothesis = said or ("", "")
    spoken = tag("p", f"Reference: {reference}. Hypothesis: {hypothesis}.", class_="spoken", lang=language(reference))
    return tag("div", spoken, tag("div", cells, class_="pairs", aria_hidden="true", lang=language(reference)))


def key() -> Markup:
    """What the marks mean."""
    return tag("p", [tag("span", name, class_=f"mark {k}") for k, name in NAMES.items()], class_="marks")


def confusions(alignments: Iterable[Sequence[Pair]]) -> dict[str, list[tuple[Pair, int]]]:
    """For sub, del and ins: the pairs and how often each occurred, most frequent first (ties by the tokens)."""
    counts: dict[str, Counter[Pair]] = {"sub": Counter(), "del": Counter(), "ins": Counter()}
    for pairs in alignments:
        for pair in pairs:
            if kind(pair) != "ok":
                counts[kind(pair)][pair] += 1
    return {
        name: sorted(counter.items(), key=lambda item: (-item[1], item[0][0] or "", item[0][1] or ""))
        for name, counter in counts.items()
    }


def _spoken(pair: Pair) -> str | None:
    reference, hypothesis = pair
    if kind(pair) == "ok":
        return None
    return {
        "sub": f"{reference} was recognised as {hypothesis}",
        "del": f"{reference} was left out",
        "ins": f"{hypothesis} was put in",
    }[kind(pair)]
