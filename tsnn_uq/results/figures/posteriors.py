"""Posterior differences between methods, with what would not matter shaded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from torch import Tensor

from tsnn_uq.checks import InputError
from tsnn_uq.results.figures.style import METHOD_STYLES, new_figure, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from pandas import DataFrame

__all__ = ["posterior_differences"]

_COLUMNS = 4  # panels side by side
_HEIGHT = 0.85  # of the highest density, in rows
_NAMES = {"ece": "ECE", "nll": "NLL", "brier": "Brier score"}


class Differences(Protocol):
    """What a `tsnn_uq.results.comparison.Comparison` has."""

    @property
    def draws(self) -> Tensor:
        """Draws of each difference [chains, draws, R]."""

    def table(self) -> DataFrame:
        """A row for each difference."""


def posterior_differences(comparison: Differences) -> Figure:
    """Difference of each method from the baseline: a panel for each measure, a row for each family, part and method.

    A row has the posterior's density, its mean and 95 % interval, in the method's colour, over its region of practical
    equivalence (grey). Densities are estimated with a Gaussian kernel of Scott's width and drawn to one height.

    Args:
        comparison: what `tsnn_uq.results.comparison.compare_methods` returns: ``draws`` [C, D, R], ``table`` of R rows.

    Returns:
        The figure, a column wide for one measure, else a page, with at most four panels side by side.

    Raises:
        InputError: no measure.
    """
    table = comparison.table()
    if not len(table):
        raise InputError("comparison: expected at least one difference; got none")
    table["label"] = _labels(table)
    draws = comparison.draws.flatten(0, 1).numpy()
    measures, labels = list(dict.fromkeys(table["measure"])), list(dict.fromkeys(table["label"]))
    lines, columns = -(-len(measures) // _COLUMNS), min(len(measures), _COLUMNS)
    with style():
        figure = new_figure(lines * (0.75 + 0.22 * len(labels)), len(measures))
        panels = figure.subplots(lines, columns, sharey=True, squeeze=False).flatten()
        for axes, measure in zip(panels, measures, strict=False):
            rows = table[table["measure"] == measure]
            _draw_panel(axes, rows, draws[:, rows.index], [labels.index(label) for label in rows["label"]])
            unit = rows["unit"].iloc[0]
            name = _NAMES.get(measure, measure.replace("_", " ").capitalize())
            axes.set_title(name)
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


def _draw_panel(axes: Axes, rows: DataFrame, draws: np.ndarray[Any, Any], places: list[int]) -> None:
    from scipy.stats import gaussian_kde

    for place, values, row in zip(places, draws.T, rows.to_dict("records"), strict=True):
        look = METHOD_STYLES.get(row["method"], METHOD_STYLES["float"])
        axes.fill_betweenx([place - 0.88, place + 0.12], row["rope_low"], row["rope_high"], color="0.9", linewidth=0)
        low, high = np.quantile(values, [0.001, 0.999])
        grid = np.linspace(low, high, 100)
        density = gaussian_kde(values)(grid)
        top = place - _HEIGHT * density / density.max()
        axes.fill_between(grid, place, top, color=look.color, alpha=0.3, linewidth=0)
        axes.plot([row["low"], row["high"]], [place, place], color=look.color, linewidth=1.2)
        axes.plot(row["difference_mean"], place, color=look.color, marker=look.marker)
    axes.axvline(0, color="0.4", linewidth=0.6)
    axes.locator_params(axis="x", nbins=4)
