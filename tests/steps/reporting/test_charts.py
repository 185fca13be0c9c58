"""Charts: scales hit their ends, lines go through their points, spikes survive thinning."""

import math
import re

import pytest

from steps.reporting.charts import (
    BOTTOM,
    HEIGHT,
    LEFT,
    MOST_POINTS,
    RIGHT,
    TOP,
    WIDTH,
    Series,
    line_chart,
    linear_scale,
    log_scale,
    round_step,
    short,
    thinned,
)


@pytest.mark.parametrize(("rough", "step"), [(1.0, 1), (1.01, 2), (0.3, 0.5), (0.06, 0.1), (5000, 5000), (7, 10)])
def test_steps_are_round(rough, step):
    assert round_step(rough) == pytest.approx(step)


def test_linear_scale_covers_the_values_with_round_ticks():
    scale = linear_scale(0.13, 0.94, 0, 100)
    assert scale.ticks == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1.0])
    assert [scale(v) for v in (0.0, 0.5, 1.0)] == pytest.approx([0, 50, 100])
    exact = linear_scale(10, 840, 0, 1, exact=True)
    assert (exact(10), exact(840)) == (0, 1)
    assert exact.ticks == pytest.approx([200, 400, 600, 800])


def test_one_value_still_has_a_scale():
    for value in (0.0, 3.0, -2.0):
        scale = linear_scale(value, value, 0, 10)
        assert 0 < scale(value) < 10


def test_log_scale_spaces_factors_evenly():
    scale = log_scale(0.3, 60, 0, 300)
    assert scale.ticks[0] == pytest.approx(0.2) and scale.ticks[-1] == pytest.approx(100)
    assert scale(2) - scale(0.2) == pytest.approx(scale(20) - scale(2))
    assert all(later > earlier for earlier, later in zip(scale.ticks, scale.ticks[1:], strict=False))
    assert log_scale(1e-6, 1e3, 0, 1).ticks == pytest.approx([10.0**n for n in range(-6, 4)])


def test_thinning_keeps_ends_of_the_range_and_order():
    points = [(float(n), math.sin(n / 50)) for n in range(10_000)]
    points[7321] = (7321.0, 99.0)
    points[1234] = (1234.0, -99.0)
    kept = thinned(points)
    assert len(kept) <= MOST_POINTS + 2
    assert (7321.0, 99.0) in kept and (1234.0, -99.0) in kept
    assert kept == sorted(kept)
    assert thinned(points[:10]) == points[:10]


def test_a_line_passes_through_its_points():
    chart = line_chart("Loss", [Series("training", [(0, 0.0), (50, 1.0), (100, 0.5)])], "steps", "")
    path = re.search(r'<path d="M([^"]+)"', chart).group(1)
    right, floor = WIDTH - RIGHT, HEIGHT - BOTTOM
    expected = [LEFT, floor, (LEFT + right) / 2, TOP, right, (floor + TOP) / 2]
    assert [float(value) for value in re.split("[L,]", path)] == pytest.approx(expected)
    assert 'aria-label="Loss: training from 0 to 0.5, lowest 0"' in chart


def test_wide_positive_ranges_are_logarithmic_and_narrow_ones_are_not():
    assert "log scale" in line_chart("a", [Series("x", [(0, 0.01), (1, 100.0)])], "", "")
    assert "log scale" not in line_chart("a", [Series("x", [(0, 1.0), (1, 2.0)])], "", "")
    assert "log scale" not in line_chart("a", [Series("x", [(0, 0.0), (1, 100.0)])], "", "")


def test_values_that_are_not_finite_are_left_out():
    chart = line_chart("a", [Series("x", [(0, 1.0), (1, math.nan), (2, math.inf), (3, 2.0)])], "", "")
    assert "nan" not in chart and "inf" not in chart
    assert re.search(r'<path d="M[^"L]+L[^"L]+"', chart)
    nothing = line_chart("Loss", [Series("x", [(0, math.nan)])], "", "")
    assert "Loss: no finite values to draw." in nothing


def test_a_single_point_is_a_dot():
    assert "<circle" in line_chart("a", [Series("x", [(5, 1.0)])], "", "")


@pytest.mark.parametrize(
    ("value", "label"), [(0, "0"), (0.25, "0.25"), (0.0005, "0.0005"), (0.00002, "2e-5"), (12000, "12k"), (3e6, "3M")]
)
def test_tick_labels(value, label):
    assert short(value) == label
