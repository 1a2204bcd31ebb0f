"""Posterior differences between methods, with what would not matter shaded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from tsnn_uq.checks import InputError
from tsnn_uq.results.figures.style import MethodStyle, method_styles, new_figure, style
from tsnn_uq.results.measures import MEASURES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from pandas import DataFrame

__all__ = ["posterior_differences"]

_COLUMNS = 4  # panels side by side
_HEIGHT = 0.85  # of the highest density, in rows


def posterior_differences(table: DataFrame, draws: Tensor | None = None) -> Figure:
    """Difference of each method from the baseline: a panel for each measure, a row for each family, part and method.

    A row has the posterior's density, its mean and 95 % interval, in the method's colour, over its region of practical
    equivalence (grey). Densities are estimated with a Gaussian kernel of Scott's width and drawn to one height.

    Args:
        table: a row for each of R differences, see `tsnn_uq.results.comparison.Comparison.table`.
        draws: of each difference [chains, draws, R], ``draws`` of the comparison; None leaves the densities out.

    Returns:
        The figure, a column wide for one measure, else a page, with at most four panels side by side.

    Raises:
        InputError: no measure.
    """
    if not len(table):
        raise InputError("table: expected at least one difference; got none")
    table = table.assign(label=_labels(table)).reset_index(drop=True)
    looks = method_styles(table["method"])
    values = None if draws is None else draws.flatten(0, 1).numpy()
    measures, labels = list(dict.fromkeys(table["measure"])), list(dict.fromkeys(table["label"]))
    lines, columns = -(-len(measures) // _COLUMNS), min(len(measures), _COLUMNS)
    with style():
        figure = new_figure(lines * (0.75 + 0.22 * len(labels)), len(measures))
        panels = figure.subplots(lines, columns, sharey=True, squeeze=False).flatten()
        for axes, measure in zip(panels, measures, strict=False):
            rows = table[table["measure"] == measure]
            places = [labels.index(label) for label in rows["label"]]
            _draw_panel(axes, rows, None if values is None else values[:, rows.index], places, looks)
            unit = rows["unit"].iloc[0]
            known = MEASURES.get(measure)
            axes.set_title(known.heading if known else measure.replace("_", " ").capitalize())
            axes.set_xlabel(f"Difference ({unit})" if unit else "Difference")
            axes.set_yticks(range(len(labels)), labels)
            axes.set_ylim(len(labels) - 0.5, -1)  # the first row on top, with room for its density
        for axes in panels[len(measures) :]:
            axes.set_visible(False)
    return figure


def _labels(table: DataFrame) -> list[str]:
    """Method, and of the names of its family and part those that differ between rows."""
    names = list(table.columns)
    block = names[names.index("unit") + 1 : names.index("quantized_part")]
    several = [name for name in block if table.loc[table["family"] != "all", name].nunique() > 1] or ["family"]
    parts = ["quantized_part"] if table["quantized_part"].nunique() > 1 else []
    labels = []
    for _, row in table.iterrows():
        family = ["mean"] if row["family"] == "all" else [str(row[name]) for name in several]
        labels.append(", ".join([*family, *(str(row[name]) for name in [*parts, "method"])]))
    return labels


def _draw_panel(
    axes: Axes,
    rows: DataFrame,
    draws: np.ndarray[Any, Any] | None,
    places: list[int],
    looks: Mapping[str, MethodStyle],
) -> None:
    for column, (place, row) in enumerate(zip(places, rows.to_dict("records"), strict=True)):
        look = looks[row["method"]]
        axes.fill_betweenx([place - 0.88, place + 0.12], row["rope_low"], row["rope_high"], color="0.9", linewidth=0)
        if draws is not None:
            _draw_density(axes, draws[:, column], place, look.color)
        axes.plot([row["low"], row["high"]], [place, place], color=look.color, linewidth=1.2)
        axes.plot(row["difference_mean"], place, color=look.color, marker=look.marker)
    axes.axvline(0, color="0.4", linewidth=0.6)
    axes.locator_params(axis="x", nbins=4)


def _draw_density(axes: Axes, draws: np.ndarray[Any, Any], place: int, color: str) -> None:
    from scipy.stats import gaussian_kde

    low, high = np.quantile(draws, [0.001, 0.999])
    grid = np.linspace(low, high, 100)
    density = gaussian_kde(draws)(grid)
    axes.fill_between(grid, place, place - _HEIGHT * density / density.max(), color=color, alpha=0.3, linewidth=0)
