"""Monte Carlo variance of networks against that of a reference, by input and by class."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tsnn_uq.checks import InputError
from tsnn_uq.results.figures.captions import explain, reference_of
from tsnn_uq.results.figures.style import MethodStyle, method_styles, new_figure, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from pandas import DataFrame

__all__ = ["variance_scatter", "variance_table"]

_WRONG = "#D55E00"  # from Okabe and Ito's palette; not the colour of a method
_GROUPS = ("all", "both right", "any wrong")
_PAIRED = ("temperature_reference", "temperature", "reference")
_CELLS = 4  # per decade of variance
_NOTHING = 2.0**-46  # the square of the rounding step of float32 at 1; probabilities are float32


def variance_table(pairs: DataFrame) -> DataFrame:
    """The numbers of a `variance_scatter`: inputs that both networks classify correctly are counted in cells.

    Args:
        pairs: as returned by `tsnn_uq.results.studies.paired_variances`.

    Returns:
        The same rows, except that each ``"input"`` that both classify correctly is replaced by rows of ``"cell"``.
        These have the number of ``inputs`` whose variances are in a square cell of a quarter of a decade, and the
        centre of the cell as ``variance_reference`` and ``variance``. Variances below 2^-46, which are rounding errors
        in float32, are 0.
    """
    import pandas as pd

    right = (pairs["of"] == "input") & (pairs["accuracy_reference"] + pairs["accuracy"] == 2)
    names = ["variance_reference", "variance"]
    values = pairs.loc[right, names]
    places = np.floor(_CELLS * np.log10(values.clip(lower=_NOTHING))).where(values >= _NOTHING, -np.inf)
    cells = places.assign(method=pairs["method"]).value_counts(sort=False).rename("inputs").reset_index()
    cells[names] = (10 ** ((cells[names] + 0.5) / _CELLS)).map("{:.3g}".format).astype(float)
    shared = pairs.groupby("method", sort=False)[["noise", "samples", *_PAIRED]].first()
    cells = cells.assign(of="cell").join(shared, on="method")
    # Single inputs are rounded to the digits that are visible in the figure.
    single = pairs["of"] == "input"
    short = pairs.loc[single, [*names, "difference"]].map("{:.6g}".format).astype(float)
    pairs = pairs.assign(**{name: pairs[name].where(~single, short[name]) for name in [*names, "difference"]})
    return pd.concat([pairs[~right], cells[[name for name in pairs if name in cells]]], ignore_index=True)


def variance_scatter(table: DataFrame) -> Figure:
    """For each method, variances of inputs against those of the reference, and mean differences by class (bottom).

    At the top both axes are logarithmic. The darker a cell, the more inputs are classified correctly by both networks
    (shades are logarithmic too); crosses are inputs that at least one network classifies wrongly. Inputs without
    variance, up to rounding errors of float32 (2^-46), are on the lower or left edge. The 95 % intervals at the bottom
    and in the titles are of the mean over inputs.

    Args:
        table: as returned by `variance_table`.

    Returns:
        The figure, as wide as a column for one method, else a page.

    Raises:
        InputError: the table has no method or no input.
    """
    looks = method_styles(table["method"])
    singles = table[table["of"].isin(["cell", "input"])]
    if not len(singles):
        raise InputError("table: expected rows of single inputs; got none")
    variances = singles[["variance_reference", "variance"]].to_numpy()
    low, high = _limits(variances[variances > 0])
    with style():
        figure = new_figure(5.0, len(looks))
        axes = figure.subplots(2, len(looks), sharey="row", squeeze=False, height_ratios=[5, 2])
        for (scatter, classes), (method, look) in zip(axes.T, looks.items(), strict=True):
            rows = table[table["method"] == method]
            _draw_inputs(scatter, rows, look.color, low, high)
            _draw_classes(classes, rows[rows["of"] == "class"], look)
            scatter.set_title(_title(rows, method), fontsize=7)
        noise, reference = table["noise"].iloc[0], reference_of(table)
        axes[0, 0].set_ylabel(f"{noise} variance of the method named above")
        axes[1, 0].set_ylabel(f"Mean difference\nfrom {reference} (10$^{{-3}}$)")
        for axis in axes[0]:
            axis.set_xlabel(f"{noise} variance, {reference}")
        _draw_legend(figure, columns=min(2, len(looks)))
        figure.align_ylabels(axes[:, 0])
        of_all = table[table["of"] == "all"]
        explain(
            figure,
            of_all if len(of_all) else table,
            "Above: the variance of each input, on logarithmic axes; on the dashed line both networks have the same. "
            "Shades are logarithmic in the number of inputs; variances below 1.4e-14, none in single precision, are on "
            f"the edge. Below, and in the titles: mean of the method's variance minus that of {reference}, with the "
            "95 % interval of a paired bootstrap over inputs.",
        )
    return figure


def _limits(positive: NDArray[np.float64]) -> tuple[float, float]:
    """Limits of the axes: slightly more than the range of variances above rounding errors, and at least two decades."""
    if not len(positive):
        return 0.01, 1.0
    high = 2 * float(positive.max())
    low = min(max(float(positive.min()) / 2, _NOTHING), high / 100)
    return 10 ** (math.floor(_CELLS * math.log10(low)) / _CELLS), high  # so that the outermost cells are whole


def _draw_inputs(axes: Axes, rows: DataFrame, color: str, low: float, high: float) -> None:
    from matplotlib.colors import LinearSegmentedColormap, LogNorm, to_rgb
    from matplotlib.ticker import LogLocator, NullFormatter

    shades = LinearSegmentedColormap.from_list(color, [[0.8 + 0.2 * part for part in to_rgb(color)], to_rgb(color)])
    cells, wrong = rows[rows["of"] == "cell"], rows[rows["of"] == "input"]
    if len(cells):
        centres = cells[["variance_reference", "variance"]].clip(lower=low, upper=high).to_numpy()
        places = np.floor(_CELLS * np.log10(centres)).astype(int)  # inputs without variance are in the outermost cells
        first, last = places.min(), places.max()
        counts = np.zeros((last - first + 1, last - first + 1))
        np.add.at(counts, (places[:, 1] - first, places[:, 0] - first), cells["inputs"])
        edges = 10.0 ** (np.arange(first, last + 2) / _CELLS)
        norm = LogNorm(1, max(2, counts.max()))
        axes.pcolormesh(edges, edges, np.ma.masked_equal(counts, 0), cmap=shades, norm=norm, rasterized=True)
    x, y = (wrong[name].clip(lower=low) for name in ("variance_reference", "variance"))
    axes.plot(x, y, "x", color=_WRONG, markersize=2.5, markeredgewidth=0.6, rasterized=True)
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
    ours, theirs = rows[["temperature", "temperature_reference"]].iloc[0]
    if (ours, theirs) != (1, 1):
        lines.append(f"temperatures {ours:.2f} ({method}), {theirs:.2f} ({reference_of(rows)})")
    return "\n".join(lines)


def _short(value: float) -> str:
    return f"{value:+.{2 if abs(value) < 9.995 else 0}f}"


def _draw_legend(figure: Figure, columns: int) -> None:
    from matplotlib.lines import Line2D

    handles = [
        Line2D(
            [],
            [],
            marker="s",
            linestyle="",
            color="0.4",
            markersize=5,
            label="both right (the darker, the more inputs)",
        ),
        Line2D([], [], marker="x", linestyle="", color=_WRONG, label="one or both wrong"),
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=columns)
