"""Tables: facts, results with their intervals, and rows with bars."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from steps.reporting.charts import Scale, linear_scale
from steps.reporting.markup import Child, Markup, language, tag

LABELS = {"cer": "CER", "wer": "WER", "mer": "MER", "eer": "EER", "rtf": "RTF", "pesq": "PESQ", "stoi": "STOI"}
WHISKER_WIDTH = 220  # user units


@dataclass(frozen=True)
class Bar:
    """A row of a bar table: its name, the bar's length, what is written beside it, and further cells."""

    label: str
    value: float
    shown: str
    cells: Sequence[Child] = field(default_factory=tuple)


def facts(pairs: Sequence[tuple[str, Child]]) -> Markup:
    """Names and values, as a grid; pairs without a value are left out."""
    items = [tag("div", tag("dt", name), tag("dd", value)) for name, value in pairs if value not in (None, "")]
    return tag("dl", items, class_="facts")


def results_table(systems: Sequence[Mapping[str, Any]], more: Sequence[tuple[str, Sequence[Child]]] = ()) -> Markup:
    """Systems by metrics, as in results.json: `[{"name", "metrics": {"cer": {"value", "low", "high", "unit"}}}]`.

    A metric that has intervals also gets a column with all intervals on one axis. `more` are further
    columns: a name, and a cell for each system.
    """
    names = list(dict.fromkeys(name for system in systems for name in system["metrics"]))
    head, rows = [tag("th", "System", scope="col")], [[tag("th", s["name"], scope="row")] for s in systems]
    for name in names:
        found = [system["metrics"].get(name) for system in systems]
        unit = next((m["unit"] for m in found if m and m.get("unit")), "")
        label = LABELS.get(name, name.replace("_", " "))
        head.append(tag("th", f"{label}, {unit}" if unit else label, scope="col", class_="number"))
        for row, metric in zip(rows, found, strict=True):
            row.append(_metric_cell(metric))
        if any(m and m.get("low") is not None for m in found):
            scale, pictures = _whiskers(found)
            ends = [tag("span", figure(end, unit)) for end in (scale.low, scale.high)]
            head.append(
                tag("th", tag("span", "95 % interval", class_="spoken"), tag("div", ends, class_="ends"), scope="col")
            )
            for row, picture in zip(rows, pictures, strict=True):
                row.append(tag("td", picture, class_="whisker"))
    for name, cells in more:
        head.append(tag("th", name, scope="col", class_="number"))
        for row, cell in zip(rows, cells, strict=True):
            row.append(tag("td", cell, class_="number"))
    body = [tag("tr", row) for row in rows]
    return scrolling(tag("table", tag("thead", tag("tr", head)), tag("tbody", body), class_="results"))


def bar_table(headers: Sequence[str], bars: Sequence[Bar], kind: str = "") -> Markup:
    """A row per bar: label, bar with its figure, further cells. `headers` name the columns."""
    most = max((bar.value for bar in bars), default=0.0) or 1.0
    rows = [
        tag(
            "tr",
            tag("th", bar.label, scope="row", lang=language(bar.label)),
            tag(
                "td",
                tag("span", class_="bar", style=f"--share:{max(bar.value, 0.0) / most:.4f}"),
                tag("span", bar.shown, class_="figure"),
                class_="bars",
            ),
            [tag("td", cell, class_="number") for cell in bar.cells],
        )
        for bar in bars
    ]
    plain = (0, 1)  # columns that are read from the left
    head = [tag("th", h, scope="col", class_=None if i in plain else "number") for i, h in enumerate(headers)]
    return scrolling(tag("table", tag("thead", tag("tr", head)), tag("tbody", rows), class_=f"bartable {kind}".strip()))


def grid_table(
    rows: tuple[str, Sequence[float]],
    columns: tuple[str, Sequence[float]],
    values: Mapping[tuple[float, float], float],
    chosen: tuple[float, float],
) -> Markup:
    """Values over two parameters (each a name and its values), shaded: the lower the paler; `chosen` is framed."""
    (row_name, row_values), (column_name, column_values) = rows, columns
    low, high = min(values.values()), max(values.values())

    def cell(row: float, column: float) -> Markup:
        value = values[row, column]
        shade = (value - low) / (high - low) if high > low else 0.0
        kind = "number chosen" if (row, column) == chosen else "number"
        return tag("td", figure(value, "%"), class_=kind, style=f"--shade:{shade:.2f}")

    head = [tag("th", f"{column:g}", scope="col", class_="number") for column in column_values]
    top = tag("tr", tag("th", f"{row_name} ↓  {column_name} →", scope="col"), head)
    body = [
        tag("tr", tag("th", f"{row:g}", scope="row"), [cell(row, column) for column in column_values])
        for row in row_values
    ]
    return scrolling(tag("table", tag("thead", top), tag("tbody", body), class_="grid-table"))


def scrolling(table: Markup) -> Markup:
    """The table in a box of its own, so that on a narrow screen it scrolls and the page does not."""
    return tag("div", table, class_="scroll", tabindex=0)


def duration(seconds: float) -> str:
    """12.3 s, 4 min 05 s or 2 h 07 min."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def figure(value: float, unit: str | None = "") -> str:
    """Percentages with two decimals; other values with two from 1 up and three significant digits below."""
    return f"{value:.2f}" if unit == "%" or abs(value) >= 1 or value == 0 else f"{value:.3g}"


def _metric_cell(metric: Mapping[str, Any] | None) -> Markup:
    if metric is None:
        return tag("td", "–", class_="number")
    value, low, high = (metric.get(key) for key in ("value", "low", "high"))
    parts: list[Child] = [tag("b", figure(value, metric.get("unit")))]
    if low is not None:
        interval = f" {figure(low, metric.get('unit'))} – {figure(high, metric.get('unit'))}"
        parts.append(tag("span", interval, class_="interval"))
    return tag("td", parts, class_="number")


def _whiskers(metrics: Sequence[Mapping[str, Any] | None]) -> tuple[Scale, list[Markup | None]]:
    """A picture for each metric, its interval and value, and the scale that they share."""
    known = [m for m in metrics if m and m.get("low") is not None]
    scale = linear_scale(min(m["low"] for m in known), max(m["high"] for m in known), 8, WHISKER_WIDTH - 8)

    def draw(metric: Mapping[str, Any]) -> Markup:
        low, value, high = (f"{scale(metric[key]):.1f}" for key in ("low", "value", "high"))
        lines = [
            tag("line", x1=8, x2=WHISKER_WIDTH - 8, y1=12, y2=12, class_="grid"),
            tag("line", x1=low, x2=high, y1=12, y2=12, class_="span"),
            tag("circle", cx=value, cy=12, r=5),
        ]
        return tag("svg", lines, viewBox=f"0 0 {WHISKER_WIDTH} 24", aria_hidden="true")

    return scale, [draw(m) if m in known else None for m in metrics]
