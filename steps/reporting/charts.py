"""Line charts as inline SVG: crisp at any size, coloured by the page's style sheet, readable without a script."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist

from steps.reporting.markup import Markup, join, tag

WIDTH, HEIGHT = 460, 260  # user units; the page scales them
LEFT, RIGHT, TOP, BOTTOM = 52, 14, 12, 40
MOST_POINTS = 400  # a line of more points looks the same and only makes the page larger


@dataclass(frozen=True)
class Series:
    """A line: points (x, y) in the order of x. `mark` draws a dot at each point; `colour` is 1 to 4."""

    name: str
    points: Sequence[tuple[float, float]]
    mark: bool = False
    colour: int = 1


@dataclass(frozen=True)
class Scale:
    """Maps values to user units, linearly or by logarithm, with ticks at round values; `names` say what they mean."""

    low: float
    high: float
    start: float
    end: float
    ticks: tuple[float, ...]
    log: bool = False
    names: tuple[str, ...] = ()

    @property
    def labels(self) -> tuple[str, ...]:
        """What is written at the ticks."""
        return self.names or tuple(map(short, self.ticks))

    def __call__(self, value: float) -> float:
        low, high = (math.log10(self.low), math.log10(self.high)) if self.log else (self.low, self.high)
        at = math.log10(max(value, self.low)) if self.log else value
        return self.start + (at - low) / (high - low) * (self.end - self.start)


def line_chart(
    title: str, series: Sequence[Series], x_label: str, y_label: str, scales: tuple[Scale, Scale] | None = None
) -> Markup:
    """A figure with one or more lines and a legend.

    Without `scales` (across, up) the axes are linear, the y axis logarithmic when all values are positive and span a
    factor of 30. Values that are not finite are left out.
    """
    lines = [replace(s, points=thinned([p for p in s.points if all(map(math.isfinite, p))])) for s in series]
    lines = [line for line in lines if line.points]
    if not lines:
        return tag("p", f"{title}: no finite values to draw.", class_="missing")
    xs = [x for line in lines for x, _ in line.points]
    ys = [y for line in lines for _, y in line.points]
    log = scales is None and min(ys) > 0 and max(ys) / min(ys) >= 30
    across, up = scales or (
        linear_scale(min(xs), max(xs), LEFT, WIDTH - RIGHT, exact=True),
        (log_scale if log else linear_scale)(min(ys), max(ys), HEIGHT - BOTTOM, TOP),
    )
    drawn = [_line(line, across, up, y_label) for line in lines]
    picture = tag(
        "svg",
        _axes(across, up, x_label),
        drawn,
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        role="img",
        aria_label=_summary(title, lines),
    )
    legend = [tag("span", tag("i", class_=f"key s{line.colour}"), line.name) for line in lines]
    caption = tag(
        "figcaption",
        tag("b", title),
        tag("span", ", ".join(filter(None, (y_label, log and "log scale"))), class_="unit"),
    )
    return tag("figure", caption, tag("div", legend, class_="legend"), picture, class_="chart")


def linear_scale(low: float, high: float, start: float, end: float, exact: bool = False) -> Scale:
    """A scale over low ... high, widened to round values unless `exact`."""
    if high <= low:
        low, high = low - (abs(low) or 1.0) * 0.5, high + (abs(high) or 1.0) * 0.5
    step = round_step((high - low) / 5)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    ticks = [number * step for number in range(first, last + 1)]
    if exact:
        return Scale(low, high, start, end, tuple(t for t in ticks if low <= t <= high))
    return Scale(ticks[0], ticks[-1], start, end, tuple(ticks))


def deviate_scale(rates: Sequence[float], start: float, end: float) -> Scale:
    """A scale over standard normal deviates with ticks at `rates` (0 to 1, ascending), named in percent."""
    ticks = tuple(NormalDist().inv_cdf(rate) for rate in rates)
    return Scale(ticks[0], ticks[-1], start, end, ticks, names=tuple(f"{100 * rate:g}" for rate in rates))


def log_scale(low: float, high: float, start: float, end: float) -> Scale:
    """A logarithmic scale whose ticks are powers of ten, with 2 and 5 between them over few decades."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    steps = (1, 2, 5) if last - first <= 3 else (1,)
    ticks = [step * 10.0**decade for decade in range(first, last + 1) for step in steps]
    below = max((t for t in ticks if t <= low), default=ticks[0])
    above = min((t for t in ticks if t >= high), default=ticks[-1])
    return Scale(below, above, start, end, tuple(t for t in ticks if below <= t <= above), log=True)


def round_step(rough: float) -> float:
    """The nearest of 1, 2, 5 times a power of ten that is at least `rough`."""
    power = 10.0 ** math.floor(math.log10(rough))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))


def thinned(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """At most about MOST_POINTS of the points: of each stretch its lowest and its highest, so that spikes stay."""
    if len(points) <= MOST_POINTS:
        return list(points)
    size, kept = math.ceil(2 * len(points) / MOST_POINTS), []
    for start in range(0, len(points), size):
        stretch = points[start : start + size]
        extremes = {min(stretch, key=lambda p: p[1]), max(stretch, key=lambda p: p[1])}
        kept += sorted(extremes)
    return kept


def short(value: float) -> str:
    """A tick's label: 1200000 -> 1.2M, 0.0005 -> 5e-4, 0.25 -> 0.25."""
    for limit, suffix in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= limit:
            return f"{value / {'G': 1e9, 'M': 1e6, 'k': 1e3}[suffix]:g}{suffix}"
    if value and abs(value) < 1e-2:
        return f"{value:.2g}".replace("e-0", "e-")
    return f"{value:.4g}"


def _line(line: Series, across: Scale, up: Scale, unit: str) -> Markup:
    path = "M" + "L".join(f"{_at(across(x))},{_at(up(y))}" for x, y in line.points)
    dots = None
    if line.mark or len(line.points) == 1:
        dots = [
            tag(
                "circle",
                tag("title", f"{line.name}: {short(y)} {unit} at {short(x)}"),
                cx=_at(across(x)),
                cy=_at(up(y)),
                r=3,
            )
            for x, y in line.points
        ]
    return tag("g", tag("path", d=path), dots, class_=f"line s{line.colour}")


def _axes(across: Scale, up: Scale, x_label: str) -> Markup:
    floor = HEIGHT - BOTTOM
    rows = [
        join(
            tag("line", x1=LEFT, x2=WIDTH - RIGHT, y1=_at(up(tick)), y2=_at(up(tick)), class_="grid"),
            tag("text", label, x=LEFT - 7, y=_at(up(tick) + 4), class_="end"),
        )
        for tick, label in zip(up.ticks, up.labels, strict=True)
    ]
    columns = [
        tag("text", label, x=_at(across(tick)), y=floor + 17, class_="middle")
        for tick, label in zip(across.ticks, across.labels, strict=True)
    ]
    axis = tag("line", x1=LEFT, x2=WIDTH - RIGHT, y1=floor, y2=floor, class_="axis")
    name = tag("text", x_label, x=(LEFT + WIDTH - RIGHT) // 2, y=HEIGHT - 6, class_="middle name")
    return join(rows, axis, columns, name)


def _summary(title: str, lines: Sequence[Series]) -> str:
    """What a screen reader says instead of the picture."""
    parts = [
        f"{line.name} from {short(line.points[0][1])} to {short(line.points[-1][1])}, "
        f"lowest {short(min(y for _, y in line.points))}"
        for line in lines
    ]
    return f"{title}: {'; '.join(parts)}"


def _at(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
