"""Histograms of full-precision weights, split by their ternary codes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tsnn_uq.checks import InputError
from tsnn_uq.results.figures.captions import explain, reference_of
from tsnn_uq.results.figures.style import in_order, new_figure, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from pandas import DataFrame

__all__ = ["weight_code_histogram"]

_CODES: dict[int, dict[str, Any]] = {
    -1: {"facecolor": "#D55E00", "hatch": "\\\\\\\\\\", "edgecolor": "white"},
    0: {"facecolor": "0.85", "edgecolor": "0.85"},
    1: {"facecolor": "#56B4E9", "hatch": "/////", "edgecolor": "white"},
}

_NAMES = {-1: "\N{MINUS SIGN}1", 0: "0", 1: "+1"}


def weight_code_histogram(table: DataFrame) -> Figure:
    """Weights of the float network by layer, with bins split by the codes of each ternary network; a row per method.

    The height of a bin is the share of the layer's float weights in it; the parts of the codes are stacked. If a
    ternary network were its float twin with thresholds, colours would change only at the dashed lines.

    Args:
        table: as returned by `tsnn_uq.results.studies.weight_histograms`.

    Returns:
        The figure, as wide as a page.

    Raises:
        InputError: the table has no rows.
    """
    if not len(table):
        raise InputError("table: expected at least one layer; got none")
    methods, layers = in_order(dict.fromkeys(table["method"])), list(dict.fromkeys(table["layer"]))
    with style():
        figure = new_figure(1.0 + 1.55 * len(methods), 2)
        panels = figure.subplots(len(methods), len(layers), sharex="col", sharey="col", squeeze=False)
        for row, method in enumerate(methods):
            for column, layer in enumerate(layers):
                rows = table[(table["method"] == method) & (table["layer"] == layer)]
                axes = panels[row, column]
                if len(rows):
                    _draw_panel(axes, rows)
                else:
                    axes.text(0.5, 0.5, "not quantized", transform=axes.transAxes, ha="center")
                axes.set_title("\n".join(([layer] if row == 0 else []) + _numbers(rows)), fontsize=6.5)
            panels[row, 0].set_ylabel(f"{method}\nShare per bin (%)")
        reference = reference_of(table)
        for axes in panels[-1]:
            axes.set_xlabel(f"Weight in {reference}")
        _draw_legend(figure)
        explain(
            figure,
            table,
            f"Bars: weights of the {reference} network, a column for each layer (its inputs and outputs are given), "
            "coloured by the code of the same weight in each ternary network.",
            "Numbers: share of the layer's weights with each code; below, share whose code is the one that the dashed "
            f"threshold, by the method's own rule, would give to the {reference} network's weight.",
        )
    return figure


def _draw_panel(axes: Axes, rows: DataFrame) -> None:
    below = np.zeros(len(rows) // len(_CODES))
    for code, look in _CODES.items():
        part = rows[rows["code"] == code]
        widths = part["bin_high"] - part["bin_low"]
        share = 100 * part["share"].to_numpy()
        axes.bar(part["bin_low"], share, widths, bottom=below, align="edge", linewidth=0, **look)
        below = below + share
    axes.stairs(below, [*part["bin_low"], part["bin_high"].iloc[-1]], color="black", linewidth=0.6)
    axes.set_ylim(0, 1.05 * below.max())  # empty bars on top would otherwise leave no margin
    threshold = rows["threshold"].iloc[0]
    for place in (-threshold, threshold):  # NaN draws nothing
        axes.axvline(place, color="black", linestyle=(0, (3, 1.5)), linewidth=0.8)


def _numbers(rows: DataFrame) -> list[str]:
    if not len(rows):
        return []
    shares = rows.groupby("code")["code_share"].first()
    agreement = rows["agreement"].iloc[0]
    codes = ", ".join(f"{name}: {100 * shares[code]:.1f}" for code, name in _NAMES.items()) + " %"
    return [codes] if agreement != agreement else [codes, f"as by threshold: {100 * agreement:.1f} %"]


def _draw_legend(figure: Figure) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: list[Any] = [Patch(label=f"becomes {_NAMES[code]}", linewidth=0, **look) for code, look in _CODES.items()]
    cut = Line2D(
        [],
        [],
        color="black",
        linestyle=(0, (3, 1.5)),
        linewidth=0.8,
        label="threshold by the method's rule",
    )
    figure.legend(handles=[*handles, cut], loc="outside upper center", ncols=4)
