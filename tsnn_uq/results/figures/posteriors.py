"""Posteriors over networks: a row for each source of samples, and a panel for each measure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tsnn_uq.checks import InputError
from tsnn_uq.results.figures.ablation import label_panel, with_calibration
from tsnn_uq.results.figures.captions import explain
from tsnn_uq.results.figures.style import METHOD_STYLES, new_figure, style, wrapped
from tsnn_uq.results.measures import MEASURES, foreign_columns

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame, Series

__all__ = ["half_width", "posteriors_figure", "posteriors_table"]

SHOWN = ("accuracy", "nll", "ece", "aurc")
"""Measures of all tables; two `foreign_columns` follow."""


def posteriors_table(rows: DataFrame, *, calibration: str = "none") -> DataFrame:
    """The numbers of a `posteriors_figure`: the mean of each measure over seeds and its interval, in its unit.

    Args:
        rows: results of `tsnn_uq.experiments.ablation.posteriors`.
        calibration: ``"none"`` for uncalibrated networks, or ``"temperature"``.

    Returns:
        Columns ``dataset``, ``family``, ``method`` (what is sampled), ``ternary`` (whether the sampled networks have
        zeros), ``measure``, ``unit``, ``mean``, ``low`` and ``high`` (95 % by Student's t; NaN for a single seed),
        and ``seeds``.

    Raises:
        InputError: the calibration is unknown, or there are no rows or columns of posteriors.
    """
    import pandas as pd

    shown = [*SHOWN, *foreign_columns(rows.columns)]
    missing = [name for name in ("dataset", "family", "method", "sparsity", *shown) if name not in rows]
    if missing:
        raise InputError(f"rows: expected the columns of posteriors.csv; got none called {', '.join(missing)}")
    rows = with_calibration(rows, calibration)
    found = []
    for (dataset, family, method), of in rows.groupby(["dataset", "family", "method"], sort=False):
        head = {"dataset": dataset, "family": family, "method": method, "ternary": bool((of["sparsity"] > 0).all())}
        for name in shown:
            values = MEASURES[name].factor * of[name]
            mean, half = values.mean(), half_width(values)
            numbers = {"mean": mean, "low": mean - half, "high": mean + half, "seeds": len(values)}
            found.append(head | {"measure": name, "unit": MEASURES[name].label} | numbers)
    return pd.DataFrame(found)


def half_width(values: Series) -> float:
    """Half of the width of a mean's 95 % interval by Student's t; NaN for a single value.

    Example:
        >>> import pandas as pd
        >>> round(half_width(pd.Series([1.0, 2.0, 3.0])), 2)
        2.48
    """
    from scipy.stats import t

    return float(t.ppf(0.975, len(values) - 1) * values.sem())


def posteriors_figure(table: DataFrame) -> Figure:
    """Measures of each source of samples; sources of ternary networks have the colour and marker of direct ones.

    Points are means over seeds, with 95 % intervals of the mean by Student's t where there are several seeds.

    Args:
        table: as returned by `posteriors_table`.

    Returns:
        The figure, as wide as a page.
    """
    sources, shown = list(dict.fromkeys(table["method"])), list(dict.fromkeys(table["measure"]))
    with style():
        figure = new_figure(0.8 + 0.4 * len(sources), panels=len(shown))
        panels = figure.subplots(1, len(shown), sharey=True)
        for axes, measure in zip(panels, shown, strict=True):
            rows = table[table["measure"] == measure]
            for is_ternary, of in rows.groupby("ternary"):
                look = METHOD_STYLES["direct" if is_ternary else "float"]
                places = [sources.index(source) for source in of["method"]]
                axes.hlines(places, of["low"], of["high"], color=look.color, linewidth=1.0)
                axes.plot(of["mean"], places, color=look.color, marker=look.marker, linestyle="none")
            label_panel(axes, measure)
        panels[0].set_yticks(range(len(sources)), [wrapped(source, 18) for source in sources])
        panels[0].set_ylim(len(sources) - 0.4, -0.6)
        explain(
            figure,
            table,
            "Black circles: float networks; blue squares: ternary ones. Points: means over seeds; horizontal lines: 95 "
            "% intervals of the mean by Student's t.",
        )
    return figure
