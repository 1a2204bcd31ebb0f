"""Error, calibration and entropy against the severity of corruptions, below pictures of corrupted images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from tsnn_uq.results.figures.captions import explain
from tsnn_uq.results.figures.input_pictures import draw_picture, pictures_in
from tsnn_uq.results.figures.style import MethodStyle, method_styles, new_figure, style
from tsnn_uq.results.measures import MEASURES, Measure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from pandas import DataFrame

__all__ = ["corruption_figure"]

_MEASURES = [MEASURES[name] for name in ("error", "ece", "nll", "entropy")]


def corruption_figure(table: DataFrame) -> Figure:
    """Four measures against severity, averaged over kinds of corruption, and the error for each kind.

    Bands are the interquartile range over kinds. Thin lines are after temperature scaling, if the clean validation part
    determines a temperature.

    Args:
        table: as returned by `tsnn_uq.results.studies.corruption_curves`, with the pictures of
            `tsnn_uq.results.figures.with_pictures` by ``kind``, or without any.

    Returns:
        The figure, as wide as a page.

    Raises:
        InputError: the table has no method.
    """
    looks = method_styles(table["method"].unique())
    kinds = [kind for kind in dict.fromkeys(table["kind"]) if kind != "none"]
    pictures = pictures_in(table, "kind")
    with style():
        heights = [0.9, 2, 1.9] if pictures else [2, 1.9]
        figure = new_figure(sum(heights), 2)
        grid = figure.add_gridspec(len(heights), 1, height_ratios=heights)
        *strip, curves, bars = (figure.add_subfigure(grid[row]) for row in range(len(heights)))
        if pictures:
            shown = {kind: pictures[kind] for kind in ("none", *kinds)}
            for axes, kind in zip(strip[0].subplots(1, len(shown), squeeze=False)[0], shown, strict=True):
                draw_picture(axes, shown[kind])
                axes.set(xticks=[], yticks=[])
                axes.spines[:].set_visible(False)
                axes.set_title("clean" if kind == "none" else kind.replace("-", "\n"), fontsize=5.5, pad=2)
        for axes, measure in zip(curves.subplots(1, len(_MEASURES)), _MEASURES, strict=True):
            for method, look in looks.items():
                _draw_curve(axes, table[table["method"] == method], measure, look)
            axes.set(xlabel="Severity", ylabel=measure.label)
            axes.set_xticks(sorted(table["severity"].unique()))
            axes.set_ylim(0, None)
        _draw_errors(bars.subplots(), table, looks, kinds)
        _draw_legend(figure, looks)
        explain(
            figure,
            table,
            "Curves: mean over kinds of corruption, with bands from the lower to the upper quartile of kinds; thin: "
            "after temperature scaling, fitted on clean validation inputs.",
            "Bars: mean error of each kind over severities; lines: mean over kinds.",
            f"ECE: expected calibration error in {table['bins'].iloc[0]} bins.",
        )
    return figure


def _draw_curve(axes: Axes, rows: DataFrame, measure: Measure, look: MethodStyle) -> None:
    by_severity = rows.groupby("severity")
    name, factor = measure.name, measure.factor
    means = factor * by_severity[name].mean()
    axes.plot(means.index, means, **look.curve)
    low, high = (factor * by_severity[name].quantile(share) for share in (0.25, 0.75))
    axes.fill_between(means.index, low, high, color=look.color, alpha=0.12, linewidth=0)
    if f"scaled_{name}" in rows and (rows["temperature_outcome"] == "optimum").all():
        scaled = factor * by_severity[f"scaled_{name}"].mean()
        axes.plot(scaled.index, scaled, color=look.color, linestyle=look.line, linewidth=0.5)


def _draw_errors(axes: Axes, table: DataFrame, looks: Mapping[str, MethodStyle], kinds: list[str]) -> None:
    """Bars are the error of each kind and method, averaged over severities; lines are the means over kinds."""
    width = 0.8 / len(looks)
    for place, (method, look) in enumerate(looks.items()):
        rows = table[(table["method"] == method) & (table["kind"] != "none")]
        errors = 100 * rows.groupby("kind")["error"].mean()
        at = [number + (place - (len(looks) - 1) / 2) * width for number in range(len(kinds))]
        axes.bar(at, errors[kinds], width, color=look.color, alpha=0.75, hatch=look.hatch, edgecolor="white")
        axes.axhline(errors.mean(), color=look.color, linestyle=look.line, linewidth=0.6)
    axes.set_xticks(range(len(kinds)), [kind.replace("-", "\n") for kind in kinds], fontsize=6)
    axes.set_ylabel("Error (%)\nmean over severities")
    axes.set_xlim(-0.6, len(kinds) - 0.4)


def _draw_legend(figure: Figure, looks: Mapping[str, MethodStyle]) -> None:
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], label=method, **look.curve) for method, look in looks.items()]
    handles.append(Line2D([], [], color="grey", linewidth=0.5, label="thin: after temperature scaling"))
    figure.legend(handles=handles, loc="outside upper center", ncols=len(handles))
