"""Posterior differences between methods, with regions of practical equivalence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from tsnn_uq.checks import InputError
from tsnn_uq.results.figures.captions import explain, reference_of
from tsnn_uq.results.figures.style import MethodStyle, method_styles, new_figure, style
from tsnn_uq.results.measures import MEASURES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from pandas import DataFrame

__all__ = ["posterior_differences", "posterior_table"]

_COLUMNS = 4  # panels side by side, at most
_POINTS = 61  # per density
_HEIGHT = 0.85  # of the peak of a density, in rows


def posterior_table(table: DataFrame, draws: Tensor) -> DataFrame:
    """The numbers of `posterior_differences`, including densities.

    Densities are estimated with a Gaussian kernel of Scott's width, from the 0.1 % to the 99.9 % quantile.

    Args:
        table: a row for each of R differences, see `tsnn_uq.results.bayesian_comparison.MethodComparison.table`.
        draws: [chains, draws, R], ``draws`` of the comparison.

    Returns:
        The table with ``density_low``, ``density_high`` and ``density``. The latter is text: heights in percent of the
        peak, at equally spaced points between the other two.
    """
    from scipy.stats import gaussian_kde

    values = draws.flatten(0, 1).numpy()
    low, high = np.quantile(values, [0.001, 0.999], axis=0)
    texts = []
    for column in range(values.shape[1]):
        density = gaussian_kde(values[:, column])(np.linspace(low[column], high[column], _POINTS))
        texts.append(" ".join(f"{100 * height:.0f}" for height in density / density.max()))
    return table.assign(density_low=low, density_high=high, density=texts)


def posterior_differences(table: DataFrame) -> Figure:
    """Difference of each method from the baseline, with a panel per measure and a row per family, part and method.

    A row shows the posterior's density, mean and 95 % interval in the colour of the method, and the region of practical
    equivalence in grey.

    Args:
        table: as returned by `posterior_table`, or the same without densities.

    Returns:
        The figure, as wide as a column for one measure, else a page, with at most four panels side by side.

    Raises:
        InputError: the table has no measure.
    """
    if not len(table):
        raise InputError("table: expected at least one difference; got none")
    table = table.assign(label=_labels(table))
    looks = method_styles(table["method"])
    measures, labels = list(dict.fromkeys(table["measure"])), list(dict.fromkeys(table["label"]))
    lines = -(-len(measures) // _COLUMNS)
    columns = -(-len(measures) // lines)
    with style():
        figure = new_figure(lines * (0.75 + 0.22 * len(labels)), len(measures))
        panels = figure.subplots(lines, columns, sharey=True, squeeze=False).flatten()
        for axes, measure in zip(panels, measures, strict=False):
            rows = table[table["measure"] == measure]
            places = [labels.index(label) for label in rows["label"]]
            _draw_panel(axes, rows, places, looks)
            unit = rows["unit"].iloc[0]
            known = MEASURES.get(measure)
            axes.set_title(known.heading if known else measure.replace("_", " ").capitalize())
            axes.set_xlabel(f"Difference ({unit})" if unit and unit == unit else "Difference")
            axes.set_yticks(range(len(labels)), labels)
            axes.set_ylim(len(labels) - 0.5, -1)  # the first row on top, with room for its density
        for axes in panels[len(measures) :]:
            axes.set_visible(False)
        shades = "shades: posterior densities, drawn to one height; " if "density" in table else ""
        explain(
            figure,
            table[table["family"] != "all"] if (table["family"] != "all").any() else table,
            f"Difference of each method from {reference_of(table)}. Points: posterior means; lines: 95 % intervals; "
            f"{shades}grey regions: differences too small to matter (region of practical equivalence).",
            "Rows called mean: over all families." if (table["family"] == "all").any() else "",
        )
    return figure


def _labels(table: DataFrame) -> list[str]:
    """The method, and those names of its family and part that differ between rows."""
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
    places: list[int],
    looks: Mapping[str, MethodStyle],
) -> None:
    for place, row in zip(places, rows.to_dict("records"), strict=True):
        look = looks[row["method"]]
        axes.fill_betweenx([place - 0.88, place + 0.12], row["rope_low"], row["rope_high"], color="0.9", linewidth=0)
        if "density" in row:
            heights = _HEIGHT * np.array(row["density"].split(), dtype=float) / 100
            grid = np.linspace(row["density_low"], row["density_high"], len(heights))
            axes.fill_between(grid, place, place - heights, color=look.color, alpha=0.3, linewidth=0)
        axes.plot([row["low"], row["high"]], [place, place], color=look.color, linewidth=1.2)
        axes.plot(row["difference_mean"], place, color=look.color, marker=look.marker)
    axes.axvline(0, color="0.4", linewidth=0.6)
    axes.locator_params(axis="x", nbins=4)
