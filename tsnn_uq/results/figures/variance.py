"""Monte Carlo variance of a ternary network against its float twin's, input by input and class by class."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tsnn_uq.checks import InputError
from tsnn_uq.results.figures.style import MethodStyle, method_styles, new_figure, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from pandas import DataFrame

__all__ = ["variance_scatter"]

_WRONG = "#D55E00"  # of Okabe and Ito's palette, and no method's
_GROUPS = ("all", "both right", "any wrong")
_NOTHING = 2.0**-46  # the square of single precision's step at 1, in which probabilities are computed


def variance_scatter(table: DataFrame) -> Figure:
    """For each ternary method its inputs' variances against float's, and below the mean difference by class.

    Above, both axes are logarithmic: the darker a cell, the more inputs that both networks get right (the shades are
    logarithmic too), and a cross is an input that at least one gets wrong. Inputs without any variance, or with less
    than single precision tells from none (2^-46), lie on the lower or left edge. Below and in the titles, intervals of
    95 % are of the mean over inputs.

    Args:
        table: what `tsnn_uq.results.studies.paired_variances` returns.

    Returns:
        The figure, a column wide for one ternary method, else a page.

    Raises:
        InputError: no method, or no input.
    """
    looks = method_styles(table["method"])
    singles = table[table["of"] == "input"]
    if not len(singles):
        raise InputError("table: expected rows of single inputs; got none")
    variances = singles[["variance_reference", "variance"]].to_numpy()
    low, high = _limits(variances[variances > 0])
    with style():
        figure = new_figure(5.0, len(looks))
        axes = figure.subplots(2, len(looks), sharey="row", squeeze=False, height_ratios=[5, 2])
        for (scatter, classes), (method, look) in zip(axes.T, looks.items(), strict=True):
            rows = table[table["method"] == method]
            _draw_inputs(scatter, rows[rows["of"] == "input"], look.color, low, high)
            _draw_classes(classes, rows[rows["of"] == "class"], look)
            scatter.set_title(_title(rows, method), fontsize=7)
        noise = table["noise"].iloc[0]
        axes[0, 0].set_ylabel(f"{noise} variance, ternary")
        axes[1, 0].set_ylabel("Mean difference\nternary - float (10$^{-3}$)")
        for axis in axes[0]:
            axis.set_xlabel(f"{noise} variance, float")
        _draw_legend(figure, columns=min(2, len(looks)))
        figure.align_ylabels(axes[:, 0])
    return figure


def _limits(positive: NDArray[np.float64]) -> tuple[float, float]:
    """Of the axes: a little more than the range of variances that are more than rounding, and at least two decades."""
    if not len(positive):
        return 0.01, 1.0
    high = 2 * float(positive.max())
    return min(max(float(positive.min()) / 2, _NOTHING), high / 100), high


def _draw_inputs(axes: Axes, rows: DataFrame, color: str, low: float, high: float) -> None:
    from matplotlib.colors import LinearSegmentedColormap, to_rgb
    from matplotlib.ticker import LogLocator, NullFormatter

    shades = LinearSegmentedColormap.from_list(color, [[0.8 + 0.2 * part for part in to_rgb(color)], to_rgb(color)])
    x, y = (rows[name].clip(lower=low) for name in ("variance_reference", "variance"))
    wrong = (rows["accuracy_reference"] + rows["accuracy"]) < 2
    if (~wrong).any():
        left, right = math.log10(low), math.log10(high)
        options: dict[str, Any] = {"xscale": "log", "yscale": "log", "gridsize": 34, "bins": "log", "linewidths": 0.1}
        axes.hexbin(x[~wrong], y[~wrong], extent=(left, right, left, right), mincnt=1, cmap=shades, **options)
    axes.plot(x[wrong], y[wrong], "x", color=_WRONG, markersize=2.5, markeredgewidth=0.6, rasterized=True)
    axes.plot([low, high], [low, high], color="0.4", linestyle=(0, (4, 3)), linewidth=0.8)
    axes.set(xscale="log", yscale="log", xlim=(low, high), ylim=(low, high))
    axes.xaxis.set_major_locator(LogLocator(numticks=5))
    axes.yaxis.set_major_locator(LogLocator(numticks=7))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_minor_formatter(NullFormatter())


def _draw_classes(axes: Axes, rows: DataFrame, look: MethodStyle) -> None:
    middle, low, high = (1000 * rows[name] for name in ("difference", "low", "high"))
    ends = [(middle - low).clip(lower=0), (high - middle).clip(lower=0)]
    axes.axhline(0, color="0.4", linewidth=0.6)
    options: dict[str, Any] = {"linestyle": "", "elinewidth": 0.9, "capsize": 1.5}
    axes.errorbar(rows["label"], middle, yerr=ends, color=look.color, marker=look.marker, **options)
    axes.set_xlabel("Class")
    axes.set_xticks(rows["label"].astype(int))


def _title(rows: DataFrame, method: str) -> str:
    lines = [f"{method}: mean difference (10$^{{-3}}$)"]
    for of in _GROUPS:
        for _, row in rows[rows["of"] == of].iterrows():
            middle, low, high = (_short(1000 * row[name]) for name in ("difference", "low", "high"))
            lines.append(f"{of} ({row['inputs']:,}): {middle} [{low}, {high}]")
    if (rows["temperature"] != 1).any() or (rows["temperature_reference"] != 1).any():
        ours, theirs = rows[["temperature", "temperature_reference"]].iloc[0]
        lines.append(f"temperatures {ours:.2f} ({method}), {theirs:.2f} (float)")
    return "\n".join(lines)


def _short(value: float) -> str:
    return f"{value:+.{2 if abs(value) < 9.995 else 0}f}"


def _draw_legend(figure: Figure, columns: int) -> None:
    from matplotlib.lines import Line2D

    handles = [
        Line2D(
            [],
            [],
            marker="h",
            linestyle="",
            color="0.4",
            markersize=5,
            label="both right (the darker, the more; logarithmic)",
        ),
        Line2D([], [], marker="x", linestyle="", color=_WRONG, label="one or both wrong"),
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=columns)
