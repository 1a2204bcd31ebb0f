"""The two figures: ratios by work, and cost against size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter, NullLocator

from tests.benchmarks.scaling import Point, fitted_slope
from tests.benchmarks.timer import OURS, Row
from tsnn_uq.files import atomic_path
from tsnn_uq.results.figures.style import METHOD_STYLES, new_figure, style

__all__ = ["draw_ratios", "draw_scaling", "save_png"]

COLORS = {
    "tsnn-uq ternary": "#0072B2",
    "tsnn-uq dense": "#56B4E9",
    "tsnn-uq float": "#0072B2",
    "tsnn-uq float compiled": "#0072B2",
    "snntorch": "#E69F00",
    "snntorch compiled": "#E69F00",
    "spikingjelly compiled": "#009E73",
    "spikingjelly": "#009E73",
    "norse": "#CC79A7",
    "matmul floor": "#777777",
}
LINE_INCHES, MARGIN_INCHES = 0.165, 0.7


def draw_ratios(rows: Sequence[Row], titles: Mapping[str, str]) -> Figure:
    """A bar for each contender but ours, from 1 (as fast as ours) to its ratio, grouped by work.

    Args:
        rows: the results, those of a work together.
        titles: what to call a work.
    """
    works = [(work, list(group)) for work, group in groupby(rows, key=lambda row: row.work)]
    labels, heads, lines = [], set(), 0
    with style():
        figure = new_figure(MARGIN_INCHES + LINE_INCHES * len(rows), panels=2)
        axes = figure.add_subplot()
        for work, group in works:
            (ours,) = (row for row in group if row.contender == OURS)
            heads.add(lines)
            labels.append((lines, f"{titles.get(work, work)}: {_seconds(ours.median_seconds)}"))
            lines += 1
            for row in (row for row in group if row.contender != OURS):
                _bar(axes, lines, row)
                labels.append((lines, row.contender))
                lines += 1
        axes.axvline(1, color="black", linewidth=0.6)
        axes.set_yticks([line for line, _ in labels], [text for _, text in labels])
        for (line, _), tick in zip(labels, axes.get_yticklabels(), strict=True):
            tick.set_fontweight("bold" if line in heads else "normal")
        axes.tick_params(axis="y", length=0)
        axes.set_ylim(lines - 0.4, -0.6)
        _ratio_axis(axes, [row.ratio for row in rows])
    return figure


def _bar(axes: Axes, line: int, row: Row) -> None:
    axes.barh(line, row.ratio - 1, left=1, height=0.75, color=COLORS.get(row.contender, "#777777"))
    outward = 1 if row.ratio >= 1 else -1
    axes.annotate(
        f"{row.ratio:.2f}" if row.ratio < 9.995 else f"{row.ratio:.1f}" if row.ratio < 99.95 else f"{row.ratio:.0f}",
        (row.ratio, line),
        (3 * outward, 0),
        textcoords="offset points",
        ha="left" if outward > 0 else "right",
        va="center_baseline",
        fontsize=7,
    )


def _ratio_axis(axes: Axes, ratios: Sequence[float]) -> None:
    low, high = min(0.8, *ratios), max(1.25, *ratios)
    room = (high / low) ** 0.1  # for the numbers at the ends of the bars
    low, high = low / room, high * room
    ticks = [tick for tick in (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000) if low <= tick <= high]
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    axes.set_xticks(ticks)
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda tick, _: f"{tick:g}"))
    axes.set_xlabel("median time as a multiple of that of tsnn-uq, shown after the colon")


def _seconds(seconds: float) -> str:
    return f"{seconds:.3g} s" if seconds >= 1 else f"{1000 * seconds:.3g} ms"


def draw_scaling(points: Sequence[Point]) -> Figure:
    """Seconds against size on logarithmic axes: forward passes on the left, Monte Carlo samples on the right."""
    curves = [list(curve) for _, curve in groupby(points, key=lambda point: point[:2])]
    with style():
        figure = new_figure(3.0, panels=2)
        panels = figure.subplots(1, 2)
        _scaling_panel(panels[0], [(c, c[0].quantity) for c in curves if c[0].contender == "forward pass"])
        _scaling_panel(panels[1], [(c, c[0].contender) for c in curves if c[0].contender != "forward pass"])
        panels[0].set_xlabel("time steps, inputs or width")
        panels[1].set_xlabel("Monte Carlo samples S")
        panels[0].set_ylabel("median seconds")
        panels[0].set_title("forward pass in float32")
        panels[1].set_title("Monte Carlo prediction, ternary")
    return figure


def _scaling_panel(axes: Axes, curves: Sequence[tuple[list[Point], str]]) -> None:
    for (curve, name), look in zip(curves, METHOD_STYLES.values(), strict=False):
        size, seconds = ([getattr(point, field) for point in curve] for field in ("size", "median_seconds"))
        label = f"{name}: slope {fitted_slope(curve):.2f}"
        axes.plot(size, seconds, color=look.color, marker=look.marker, linestyle=look.line, label=label)
    size = sorted(point.size for curve, _ in curves for point in curve)
    # The guide runs below all curves.
    offset = 0.5 * min(point.median_seconds / point.size for curve, _ in curves for point in curve)
    ends = [size[0], size[-1]]
    axes.plot(ends, [offset * end for end in ends], color="#999999", linewidth=0.8, label="guide: slope 1")
    axes.set_xscale("log")
    axes.set_yscale("log")
    low, high = axes.get_ylim()
    axes.set_ylim(low, high * (high / low) ** 0.45)  # room for the legend
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_minor_formatter(NullFormatter())
    axes.legend(loc="upper left")


def save_png(figure: Figure, path: Path) -> None:
    """Write a figure as PNG, atomically."""
    with style(), atomic_path(path) as temporary:
        figure.savefig(temporary)
