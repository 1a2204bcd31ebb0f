"""Anytime curves: accuracy and uncertainty against the number of samples and of time steps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tsnn_uq.checks import InputError
from tsnn_uq.results.figures.captions import explain, foreign_name
from tsnn_uq.results.figures.style import MethodStyle, method_styles, new_figure, style, wrapped
from tsnn_uq.results.measures import measure_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from pandas import DataFrame

__all__ = ["anytime_figure"]

_AXES = {"samples": "Monte Carlo samples S", "steps": "Time steps T"}
_MEASURES = ("accuracy", "predictive_entropy_nats", "ece", "ood_auroc")
_SPANS = ("predictive_entropy_nats", "ece")  # measures that may fall by orders of magnitude
_BANDS = 4  # bands end at a quarter of the samples, since the spread of larger, overlapping subsets is not informative
# A method has one colour, marker and line; markers are full or hollow by mask mode.
_MASKS = {"fixed": "masks fixed over the steps", "per-step": "masks redrawn each step"}


def anytime_figure(table: DataFrame) -> Figure:
    """A row for each measure, with a panel against samples (logarithmic) and a panel against time steps.

    Bands are one standard deviation over random subsets of the samples. They end at a quarter of the samples, since
    larger subsets share most of theirs. Axes of entropies or calibration errors that span more than a factor of ten are
    logarithmic.

    Args:
        table: as returned by `tsnn_uq.results.studies.anytime_curves`.

    Returns:
        The figure, as wide as a page.

    Raises:
        InputError: the table has no method.
    """
    looks = method_styles(table["method"])
    measures = [name for name in _MEASURES if name in table]
    table = table.fillna({"mask": ""})  # unknown mask mode
    masks = [name for name in ("", *_MASKS) if name in set(table["mask"])]
    if not measures or not masks:
        raise InputError(f"table: expected measures and mask modes; got columns {list(table.columns)}")
    samples, steps = (int(table[name].max()) for name in ("samples", "steps"))
    with style():
        figure = new_figure(0.9 + 1.35 * len(measures), panels=2)
        axes = figure.subplots(len(measures), 2, sharex="col", squeeze=False)
        for row, measure in zip(axes, measures, strict=True):
            for panel, against in zip(row, _AXES, strict=True):
                part = table[table["against"] == against]
                for method, look in looks.items():
                    for mask in masks:
                        rows = part[(part["method"] == method) & (part["mask"] == mask)]
                        _draw_curve(panel, rows, against, measure, look, most=samples // _BANDS)
                if measure in _SPANS and table[measure].max() > 10 * table[measure].min() > 0:
                    _set_logarithmic(panel)
            bins = f"\n{int(table['bins'].max())} bins" if measure == "ece" else ""
            row[0].set_ylabel(wrapped(measure_of(measure)[0].label) + bins)
        titles = {
            "samples": f"S of {samples} samples, all {steps} time steps",
            "steps": f"all {samples} samples, T time steps",
        }
        for column, against in zip(axes.T, _AXES, strict=True):
            amounts = sorted(table.loc[table["against"] == against, against].unique())
            if amounts:
                _set_axis(column[-1], against, amounts)
                column[0].set_title(titles[against])
            for panel in column if not amounts else ():
                panel.set_axis_off()
        _draw_legend(figure, looks, masks)
        figure.align_ylabels(axes[:, 0])
        explain(
            figure,
            table.assign(samples=samples),
            f"Left: means over random subsets of the {samples} samples; bands: one standard deviation between subsets, "
            f"up to S = {samples // _BANDS}, since larger subsets share most of their samples."
            if samples >= _BANDS
            else "",
            f"AUROC: {foreign_name(table)} against own test inputs, by predictive entropy."
            if "ood_auroc" in measures
            else "",
        )
    return figure


def _line(look: MethodStyle, mask: str) -> dict[str, Any]:
    fill = {"markerfacecolor": "white"} if mask == "per-step" else {}
    return {**look.curve, "linewidth": 0.9, **fill}


def _draw_curve(axes: Axes, rows: DataFrame, against: str, measure: str, look: MethodStyle, most: int) -> None:
    if not len(rows):
        return
    factor = measure_of(measure)[1]
    x, value, spread = rows[against], factor * rows[measure], factor * rows[f"{measure}_sd"]
    axes.plot(x, value, **_line(look, rows["mask"].iloc[0]))
    if against == "samples":
        where = x <= most
        axes.fill_between(x, value - spread, value + spread, where=where, color=look.color, alpha=0.15, linewidth=0)


def _set_logarithmic(axes: Axes) -> None:
    from matplotlib.ticker import LogLocator, NullFormatter

    axes.set_yscale("log")
    low, high = axes.get_ylim()
    subs = (1, 2, 3, 5) if high < 10 * low else (1, 2, 5) if high < 100 * low else (1,)
    axes.yaxis.set_major_locator(LogLocator(subs=subs))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter(NullFormatter())


def _set_axis(axes: Axes, against: str, amounts: list[int]) -> None:
    from matplotlib.ticker import FixedLocator, NullLocator, ScalarFormatter

    axes.set_xlabel(_AXES[against])
    doubling = against == "samples" or max(amounts) > len(amounts)  # of many steps, only some were measured
    if doubling:
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_formatter(ScalarFormatter())
        axes.xaxis.set_minor_locator(NullLocator())
    if len(amounts) <= 8 or doubling:
        axes.xaxis.set_major_locator(FixedLocator(amounts))


def _draw_legend(figure: Figure, looks: Mapping[str, MethodStyle], masks: list[str]) -> None:
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], label=method, **_line(look, masks[0])) for method, look in looks.items()]
    for mask in filter(None, masks):
        fill = "0.3" if mask == "fixed" else "white"
        marker = {"marker": "o", "markerfacecolor": fill, "markeredgecolor": "0.3", "linestyle": ""}
        handles.append(Line2D([], [], label=_MASKS[mask], **marker))  # type: ignore[arg-type]
    figure.legend(handles=handles, loc="outside upper center", ncols=len(handles), columnspacing=1.2)
