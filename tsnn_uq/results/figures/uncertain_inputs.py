"""Single inputs with the predictions of each method."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tsnn_uq.results.figures.captions import explain
from tsnn_uq.results.figures.input_pictures import draw_picture, pictures_in
from tsnn_uq.results.figures.style import MethodStyle, method_styles, new_figure, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from pandas import DataFrame

__all__ = ["digit_gallery"]

_COLUMNS = 8  # inputs side by side
_TITLES = {"uncertain": "Most uncertain", "wrong": "Most confidently wrong"}
# Inches; all are fixed, so that pictures and bars of all lines are in the same columns.
_LEFT, _RIGHT, _GAP = 0.42, 0.05, 0.12
_HEADING, _TITLE, _BARS, _TICKS, _BETWEEN = 0.22, 0.2, 0.34, 0.2, 0.1


def digit_gallery(table: DataFrame) -> Figure:
    """Inputs in rows of eight: the most uncertain ones, then the most confidently wrong ones.

    Below each picture are bars from 0 to 1 with each method's mean probability of each class; the true class is shaded.
    Above each picture are the true class, and the predictive entropy or the predicted class of the method that orders
    the inputs.

    Args:
        table: as returned by `tsnn_uq.results.studies.uncertain_inputs`, with the pictures of
            `tsnn_uq.results.figures.with_pictures` by ``input``, or without any.

    Returns:
        The figure, as wide as a page.

    Raises:
        InputError: the table has no method.
    """
    looks, pictures = method_styles(table["method"]), pictures_in(table, "input")
    lines = []
    for group, part in table.groupby("group", sort=False):
        ranks = sorted(part["rank"].unique())
        for start in range(0, len(ranks), _COLUMNS):
            lines.append((str(group), start == 0, part[part["rank"].isin(ranks[start : start + _COLUMNS])]))
    with style():
        figure = new_figure(1, panels=2)
        figure.set_layout_engine("none")
        width = (figure.get_figwidth() - _LEFT - _RIGHT - (_COLUMNS - 1) * _GAP) / _COLUMNS
        above = [_HEADING * first + _TITLE + (width if pictures else 0) + _GAP for _, first, _ in lines]
        height = sum(above) + len(lines) * (len(looks) * (_BARS + _GAP) - _GAP + _TICKS + _BETWEEN)
        figure.set_figheight(height)
        explain(
            figure,
            table,
            "Above each picture: its class, and the predictive entropy or the class predicted by the "
            f"{table['by'].iloc[0]} network, which orders the inputs. Bars: the mean probability that each network "
            "gives to each class, from 0 to 1; grey: the true class.",
        )
        top = figure.get_figheight()
        for (group, first, part), space in zip(lines, above, strict=True):
            if first:
                heading = f"{_TITLES[group]}, by {part['by'].iloc[0]}"
                figure.text(0.5, (top - 0.05) / figure.get_figheight(), heading, ha="center", va="top", fontsize=8)
            top -= space
            top = _draw_line(figure, top, width, group, part, looks, pictures)
    return figure


def _draw_line(
    figure: Figure,
    top: float,
    width: float,
    group: str,
    part: DataFrame,
    looks: Mapping[str, MethodStyle],
    pictures: Mapping[Any, NDArray[np.uint8]],
) -> float:
    """Draw inputs side by side, their first bars below `top` inches; returns where the next line begins."""
    size = figure.get_size_inches()

    def panel(column: int, bottom: float, height: float) -> Axes:
        left = _LEFT + column * (width + _GAP)
        return figure.add_axes((left / size[0], bottom / size[1], width / size[0], height / size[1]))

    for column, (_, rows) in enumerate(part.groupby("rank")):
        by = rows[rows["method"] == rows["by"]].iloc[0]
        said = f"said {by['predicted']}" if group == "wrong" else f"{by['predictive_entropy_nats']:.2f} nats"
        if pictures:
            axes = panel(column, top + _GAP, width)
            draw_picture(axes, pictures[by["input"]], aspect="auto")
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set(visible=True, color="0.8")
        for number, (method, look) in enumerate(looks.items()):
            axes = panel(column, top - (number + 1) * _BARS - number * _GAP, _BARS)
            _draw_bars(axes, rows[rows["method"] == method], look)
            if column == 0:
                axes.set_yticks([0, 1])
                axes.set_ylabel(method, fontsize=7)
            axes.tick_params(labelbottom=number == len(looks) - 1)
        x, y = _LEFT + column * (width + _GAP) + width / 2, top + _GAP + (width if pictures else 0) + 0.05
        figure.text(x / size[0], y / size[1], f"is {by['label']}, {said}", ha="center", va="bottom", fontsize=7)
    return top - len(looks) * (_BARS + _GAP) + _GAP - _TICKS - _BETWEEN


def _draw_bars(axes: Axes, rows: DataFrame, look: MethodStyle) -> None:
    classes, label = rows["class"], rows["label"].iloc[0]
    axes.axvspan(label - 0.5, label + 0.5, color="0.88", linewidth=0)
    axes.bar(classes, rows["probability"], width=0.8, color=look.color)
    axes.set(xlim=(-0.7, len(classes) - 0.3), ylim=(0, 1.05), yticks=[])
    axes.set_xticks(range(0, len(classes), 3) if len(classes) > 4 else range(len(classes)))
    axes.tick_params(length=1.5, pad=1)
