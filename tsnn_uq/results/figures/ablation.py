"""The effect of uncertainty terms: a row for each term and a panel for each measure, with the network without one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tsnn_uq.checks import InputError, check_choice
from tsnn_uq.results.figures.captions import explain
from tsnn_uq.results.figures.style import MethodStyle, method_styles, new_figure, style, wrapped
from tsnn_uq.results.measures import MEASURES, foreign_columns

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from pandas import DataFrame

__all__ = ["SHOWN", "ablation_figure", "ablation_table", "label_panel", "with_calibration"]

SHOWN = ("accuracy", "predictive_variance_correct", "ece", "aurc")
"""Measures of all tables; two `foreign_columns` follow."""
CALIBRATIONS = ("none", "temperature")


def ablation_table(rows: DataFrame, *, calibration: str = "temperature") -> DataFrame:
    """The numbers of an `ablation_figure`: mean and range over seeds of each measure, in its unit.

    Args:
        rows: results of finals, or of a screening, of which only the chosen weights are used; see
            `tsnn_uq.experiments.ablation`.
        calibration: ``"temperature"``, or ``"none"`` for uncalibrated networks.

    Returns:
        Columns ``family``, ``method``, ``term`` (with its weight where it was run with several), ``regularizer``,
        ``measure``, ``unit``, ``mean``, ``low``, ``high`` (the smallest and largest over seeds), ``seeds``, and
        ``without``, the mean of the same network without a term (NaN if there is none), and ``dataset``.
        Terms are sorted by their mean variance for correct predictions, smallest first.

    Raises:
        InputError: the calibration is unknown, or there are no rows or columns of an ablation.
    """
    import pandas as pd

    shown = [*SHOWN, *foreign_columns(rows.columns)]
    needed = ["dataset", "family", "method", "term", "regularizer", "calibration", *shown]
    missing = [name for name in needed if name not in rows]
    if missing:
        raise InputError(f"rows: expected the columns of an ablation; got none called {', '.join(missing)}")
    if "chosen" in rows:
        rows = rows[rows["chosen"].astype(bool)]
    rows = with_calibration(rows, calibration)
    weights = rows.groupby(["family", "method", "term"])["regularizer"].nunique().groupby("term").max()
    rows = rows.assign(term=rows["term"].where(rows["term"].map(weights) == 1, rows["regularizer"]))
    groups = rows.groupby(["family", "method", "term", "regularizer"], sort=False)
    parts = []
    for name in shown:
        scaled = groups[name].agg(["mean", "min", "max", "count"])
        part = scaled.set_axis(["mean", "low", "high", "seeds"], axis=1).reset_index()
        part[["mean", "low", "high"]] *= MEASURES[name].factor
        parts.append(part.assign(measure=name, unit=MEASURES[name].label))
    table = pd.concat(parts, ignore_index=True)
    keys = ["family", "method", "measure"]
    without = table[table["term"] == "none"].set_index(keys)["mean"].rename("without")
    table = table.join(without, on=keys)
    variance = table[table["measure"] == "predictive_variance_correct"].groupby("term")["mean"].mean()
    order = {term: rank for rank, term in enumerate(variance.sort_values().index)}
    table = table.sort_values("term", key=lambda terms: terms.map(order), kind="stable", ignore_index=True)
    table = table[[*keys[:2], "term", "regularizer", "measure", "unit", "mean", "low", "high", "seeds", "without"]]
    return table.assign(dataset=", ".join(rows["dataset"].unique()))


def with_calibration(rows: DataFrame, calibration: str) -> DataFrame:
    """The rows of networks with one calibration.

    Raises:
        InputError: the calibration is unknown, or there are no rows with it.
    """
    check_choice("calibration", calibration, CALIBRATIONS)
    chosen = rows[rows["calibration"] == calibration]
    if not len(chosen):
        raise InputError(f"rows: expected some with calibration {calibration}; got none")
    return chosen


def ablation_figure(table: DataFrame) -> Figure:
    """Measures of each term, with a row per term and a panel per measure; methods differ in colour and marker.

    Points are means over seeds, and horizontal lines span the seeds. Vertical lines are the same methods without a
    term. Methods that were not run with a term are marked.

    Args:
        table: as returned by `ablation_table`.

    Returns:
        The figure, as wide as a page.
    """
    terms = [term for term in dict.fromkeys(table["term"]) if term != "none"]
    several = table["family"].nunique() > 1
    families = list(dict.fromkeys(table["family"]))
    shown = list(dict.fromkeys(table["measure"]))
    shown_terms = [term if several or len(term) < 25 else term.replace("+", "+\n") for term in terms]
    labels = [f"{term}\n{family}" if several else term for family in families for term in shown_terms]
    methods = method_styles(dict.fromkeys(table["method"]))
    with style():
        height = 1.1 + (0.32 if any("\n" in label for label in labels) else 0.2) * len(labels)
        figure = new_figure(height, panels=len(shown))
        panels = figure.subplots(1, len(shown), sharey=True)
        for axes, measure in zip(panels, shown, strict=True):
            _draw_panel(axes, table[table["measure"] == measure], families, terms, methods)
            label_panel(axes, measure)
        panels[0].set_yticks(range(len(labels)), labels)
        panels[0].set_ylim(len(labels) - 0.4, -0.6)
        _draw_legend(figure, methods)
        explain(
            figure,
            table,
            "Points: means over seeds; horizontal lines: from the lowest to the highest seed; vertical lines: the same "
            "method without a term. Terms are ordered by the variance if correct.",
        )
    return figure


def label_panel(axes: Axes, measure: str) -> None:
    """Give a narrow panel its title, few and short numbers, and a line for each row."""
    axes.set_title(wrapped(MEASURES[measure].label))
    axes.locator_params(axis="x", nbins=3)
    axes.xaxis.set_major_formatter("{x:g}")
    axes.grid(axis="y", color="0.92", linewidth=0.5)


def _draw_panel(
    axes: Axes, rows: DataFrame, families: list[str], terms: list[str], methods: Mapping[str, MethodStyle]
) -> None:
    for number, (method, look) in enumerate(methods.items()):
        shift = 0.3 * (number - (len(methods) - 1) / 2)
        for rank, family in enumerate(families):
            part = rows[(rows["method"] == method) & (rows["family"] == family)]
            first, last = rank * len(terms), (rank + 1) * len(terms)
            for value in part["without"].dropna().unique():
                axes.plot(
                    [value, value], [first - 0.5, last - 0.5], color=look.color, linestyle=look.line, linewidth=0.7
                )
            chosen = part[part["term"] != "none"]
            absent = [term for term in terms if len(chosen) and term not in set(chosen["term"])]
            for term in absent:
                y, place = first + terms.index(term) + shift, axes.get_yaxis_transform()
                axes.text(0.5, y, "not run", color=look.color, ha="center", va="center", transform=place, fontsize=5.5)
            places = [first + terms.index(term) + shift for term in chosen["term"]]
            axes.hlines(places, chosen["low"], chosen["high"], color=look.color, linewidth=1.0)
            axes.plot(chosen["mean"], places, color=look.color, marker=look.marker, linestyle="none")


def _draw_legend(figure: Figure, methods: Mapping[str, MethodStyle]) -> None:
    from matplotlib.lines import Line2D

    handles: list[Any] = []
    for method, look in methods.items():
        common: dict[str, Any] = {"color": look.color, "linestyle": look.line}
        handles.append(Line2D([], [], marker=look.marker, label=method, **common))
    figure.legend(handles=handles, loc="outside upper center", ncols=len(handles))
