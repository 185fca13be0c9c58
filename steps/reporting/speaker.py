"""What the page of a speaker recogniser has besides: DET and ROC, thresholds, identification, matrices of errors."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from steps.reporting.charts import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, Series, deviate_scale, line_chart
from steps.reporting.markup import Markup, join, tag
from steps.reporting.page import Section, missing
from steps.reporting.run import Run, read_json
from steps.reporting.sound import Sound
from steps.reporting.tables import scrolling

MOST_LINES = 4  # colours of a chart
RATES = (0.001, 0.005, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6)


def sections(run: Run, sounds_of: Callable[[list[str]], Mapping[str, Sound]]) -> list[Section]:
    """What follows the results. (No sounds: an embedding is not heard.)"""
    found = run.results
    if not found:
        return []
    chosen = tag("p", f"Of {found['chosen']}, which was best on dev.", class_="note")
    parts = [
        Section("Errors against thresholds", _curves(found, read_json(run.folder / "score/curves.json")), short="DET"),
        Section("Thresholds", join(chosen, _thresholds(found["thresholds"]))),
    ]
    if found["open_set"]:
        parts.append(Section("Identification", join(chosen, _identification(found["open_set"]))))
    durations = _matrix(found["durations"]["seconds"], found["durations"]["seconds"], found["durations"]["eer"], " s")
    note = tag("p", "EER in % by seconds of enrolment (down) and of test (across).", class_="note")
    parts.append(Section("Seconds of speech", join(chosen, note, durations), short="Seconds"))
    if found["genres"]:
        genres = found["genres"]
        note = tag("p", "EER in % by genre of enrolment (down) and of test (across).", class_="note")
        table = _matrix(genres["enrolment"], genres["test"], genres["eer"], "")
        parts.append(Section("Genres", join(chosen, note, table)))
    return parts


def _curves(found: Mapping[str, Any], curves: Mapping[str, Any] | None) -> Markup:
    """DET and ROC of the best back ends by EER."""
    if not curves:
        return missing("score/curves.json", 7, "score")
    order = sorted(found["systems"], key=lambda system: system["metrics"]["eer"]["value"])
    names = [system["name"] for system in order if system["name"] in curves][:MOST_LINES]
    det, roc = (
        [
            Series(name, list(zip(*curves[name][kind], strict=True))[:: -1 if kind == "det" else 1], colour=n)
            for n, name in enumerate(names, start=1)
        ]
        for kind in ("det", "roc")
    )
    across, up = (deviate_scale(RATES, *ends) for ends in ((LEFT, WIDTH - RIGHT), (HEIGHT - BOTTOM, TOP)))
    inside = [
        Series(
            line.name, [p for p in line.points if all(up.low <= value <= up.high for value in p)], colour=line.colour
        )
        for line in det
    ]
    charts = [
        line_chart("DET", inside, "false acceptance, %", "false rejection, %", (across, up)),
        line_chart("ROC", roc, "false acceptance rate", "share of targets accepted"),
    ]
    note = tag("p", f"The {len(names)} back ends with the lowest EER.", class_="note")
    return join(note, tag("div", charts, class_="charts"))


def _thresholds(rows: Sequence[Mapping[str, Any]]) -> Markup:
    """What dev gives for each false acceptance rate."""
    body = []
    for row in rows:
        known = row["threshold"] is not None
        cells = [
            f"{100 * row['target_far']:g}",
            f"{row['threshold']:.3f}" if known else "–",
            f"{100 * row['frr']:.2f}" if known else "–",
            f"{row['errors']} of {row['nontargets']}",
            "yes" if row["supported"] else "too few",
        ]
        body.append(cells)
    heads = [
        "FAR, %",
        "threshold, natural-log likelihood ratio",
        "FRR, %",
        "accepted non-targets on dev",
        "trials enough",
    ]
    return _table(heads, body)


def _identification(sizes: Sequence[Mapping[str, Any]]) -> Markup:
    """By size of the gallery."""
    rates = list(sizes[0]["dir"])
    heads = ["gallery", "rank-1, %", *(f"found and accepted at FPIR {100 * float(rate):g} %, %" for rate in rates)]
    body = [
        [
            str(size["gallery"]),
            f"{size['rank1']:.1f}",
            *("–" if value is None else f"{value:.1f}" for value in size["dir"].values()),
        ]
        for size in sizes
    ]
    return _table(heads, body)


def _matrix(rows: Sequence[Any], columns: Sequence[Any], rates: Sequence[Sequence[float | None]], unit: str) -> Markup:
    """Rates, the higher the darker."""
    known = [rate for row in rates for rate in row if rate is not None]
    low, high = min(known, default=0.0), max(known, default=1.0)

    def cell(rate: float | None) -> Markup:
        shade = (rate - low) / (high - low) if rate is not None and high > low else 0.0
        return tag("td", "–" if rate is None else f"{rate:.2f}", class_="number", style=f"--shade:{shade:.2f}")

    names = [
        ["all" if name is None else f"{name:g}{unit}" if unit else name for name in axis] for axis in (rows, columns)
    ]
    top = tag("tr", tag("th", "", scope="col"), [tag("th", name, scope="col", class_="number") for name in names[1]])
    body = [
        tag("tr", tag("th", name, scope="row"), [cell(rate) for rate in row])
        for name, row in zip(names[0], rates, strict=True)
    ]
    return scrolling(tag("table", tag("thead", top), tag("tbody", body), class_="grid-table"))


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> Markup:
    top = tag("tr", [tag("th", head, scope="col", class_="number") for head in heads])
    body = [tag("tr", [tag("td", cell, class_="number") for cell in row]) for row in rows]
    return scrolling(tag("table", tag("thead", top), tag("tbody", body)))
