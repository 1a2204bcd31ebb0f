"""Accuracy and uncertainty against the amount of a shift, below pictures of shifted images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tsnn_uq.results.figures.captions import explain
from tsnn_uq.results.figures.input_pictures import draw_picture, pictures_in
from tsnn_uq.results.figures.style import MethodStyle, method_styles, new_figure, style, wrapped
from tsnn_uq.results.measures import measure_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from pandas import DataFrame

__all__ = ["shift_figure"]

_SHIFTS = {"rotate": "Rotation (degrees)", "noise": "Gaussian noise, sigma", "blur": "Gaussian blur, sigma (pixels)"}
_MEASURES = ("accuracy", "predictive_entropy_nats", "ece")
_STRIP = 7  # number of images that fit side by side above an axis


def shift_figure(table: DataFrame) -> Figure:
    """A column for each shift, with images above the amounts, and a row for each measure; rows share their axis.

    Bands of the accuracy are 95 % Wilson intervals. If amounts are too close together, some images are left out.

    Args:
        table: as returned by `tsnn_uq.results.studies.shift_curves`, with the pictures of
            `tsnn_uq.results.figures.with_pictures` by ``shift`` and ``amount``, or without any.

    Returns:
        The figure, as wide as a column for one shift, else a page.

    Raises:
        InputError: the table has no method.
    """
    looks = method_styles(table["method"])
    pictures = pictures_in(table, ["shift", "amount"])
    shifts = [name for name in _SHIFTS if name in set(table["shift"])]
    with style():
        figure = new_figure(5.2, len(shifts))
        strip = [] if not pictures else [1.0 if len(shifts) > 2 else 1.6 if len(shifts) == 2 else 1.4]
        ratios = [*strip, *[4.0] * len(_MEASURES)]
        axes = figure.subplots(
            len(ratios), len(shifts), sharex="col", sharey="row", squeeze=False, height_ratios=ratios
        )
        for column, shift in zip(axes.T, shifts, strict=True):
            rows = table[table["shift"] == shift]
            if pictures:
                _draw_strip(column[0], sorted(rows["amount"].unique()), pictures, shift)
            for panel, measure in zip(column[-len(_MEASURES) :], _MEASURES, strict=True):
                for method, look in looks.items():
                    _draw_curve(panel, rows[rows["method"] == method], measure, look)
            column[-1].set_xlabel(_SHIFTS[shift])
        for panel, measure in zip(axes[-len(_MEASURES) :, 0], _MEASURES, strict=True):
            panel.set_ylabel(wrapped(measure_of(measure)[0].label))
            panel.set_ylim(0, None)
        _draw_legend(figure, looks)
        figure.align_ylabels(axes[-len(_MEASURES) :, 0])
        shown = "Above, one of the inputs at each amount. " if pictures else ""
        bins = f"ECE: expected calibration error in {table['bins'].iloc[0]} bins."
        explain(figure, table, f"{shown}Bands of the accuracy: 95 % Wilson intervals.", bins)
    return figure


def _draw_strip(
    axes: Axes, amounts: list[float], pictures: Mapping[tuple[str, float], NDArray[np.uint8]], shift: str
) -> None:
    span = amounts[-1] - amounts[0] or 1.0
    width = span / (_STRIP - 1)
    shown: list[float] = []
    for amount in amounts:
        if not shown or amount - shown[-1] >= 0.99 * width:
            shown.append(amount)
            extent = (amount - 0.47 * width, amount + 0.47 * width, 0, 0.94)
            draw_picture(axes, pictures[shift, amount], extent=extent, aspect="auto")
    axes.set(xlim=(amounts[0] - width / 2, amounts[-1] + width / 2), ylim=(0, 0.94))
    axes.set_xticks(shown, [f"{amount:g}" for amount in shown])
    axes.set_box_aspect(0.94 * width / (span + width))  # so that images are square
    axes.set_anchor("S")
    axes.axis("off")


def _draw_curve(axes: Axes, rows: DataFrame, measure: str, look: MethodStyle) -> None:
    factor = measure_of(measure)[1]
    axes.plot(rows["amount"], factor * rows[measure], **look.curve)
    if f"{measure}_low" in rows:
        low, high = (factor * rows[f"{measure}_{end}"] for end in ("low", "high"))
        axes.fill_between(rows["amount"], low, high, color=look.color, alpha=0.15, linewidth=0)


def _draw_legend(figure: Figure, looks: Mapping[str, MethodStyle]) -> None:
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], label=method, **look.curve) for method, look in looks.items()]
    figure.legend(handles=handles, loc="outside upper center", ncols=len(handles))
