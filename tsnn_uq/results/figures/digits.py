"""Single inputs, with what each method says of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tsnn_uq.checks import InputError
from tsnn_uq.results.figures.style import Array, MethodStyle, as_tensor, method_styles, new_figure, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from pandas import DataFrame

__all__ = ["digit_gallery"]

_COLUMNS = 8  # inputs side by side
_TITLES = {"uncertain": "Most uncertain", "wrong": "Most confidently wrong"}


def digit_gallery(table: DataFrame, pictures: Mapping[int, Array] | None = None) -> Figure:
    """Inputs in rows of eight, the most uncertain ones and then the most confidently wrong ones.

    Under each picture stand bars from 0 to 1 of each method's mean probability of each class, the true class shaded;
    above it the true class and, of the method that orders the inputs, the predictive entropy or what it said.

    Args:
        table: what `tsnn_uq.results.studies.uncertain_inputs` returns.
        pictures: by ``input`` of the table, [H, W] in [0, 1]; None leaves them out.

    Returns:
        The figure, a page wide.

    Raises:
        InputError: no method, or an input without a picture.
    """
    looks = method_styles(table["method"])
    missing = [] if pictures is None else sorted(set(map(int, table["input"])) - set(pictures))
    if missing:
        raise InputError(f"pictures: expected one of each input of the table; got none of {missing[0]}")
    lines = []
    for group, part in table.groupby("group", sort=False):
        ranks = sorted(part["rank"].unique())
        for start in range(0, len(ranks), _COLUMNS):
            lines.append((str(group), start == 0, part[part["rank"].isin(ranks[start : start + _COLUMNS])]))
    with style():
        figure = new_figure(len(lines) * (1.35 + 0.42 * len(looks)), panels=2)
        figures = figure.subfigures(len(lines), 1, squeeze=False)[:, 0]
        for sub, (group, first, part) in zip(figures, lines, strict=True):
            if first:
                bars = "bars: mean probability of each class; grey: the true one"
                sub.suptitle(f"{_TITLES[group]}, by {part['by'].iloc[0]} ({bars})", fontsize=8)
            _draw_line(sub, group, part, looks, pictures)
    return figure


def _draw_line(
    figure: Any,
    group: str,
    part: DataFrame,
    looks: Mapping[str, MethodStyle],
    pictures: Mapping[int, Array] | None,
) -> None:
    ratios = [1.9, *[1.0] * len(looks)]
    axes = figure.subplots(1 + len(looks), _COLUMNS, squeeze=False, height_ratios=ratios)
    for column, (_, rows) in zip(axes.T, part.groupby("rank"), strict=False):
        by = rows[rows["method"] == rows["by"]].iloc[0]
        said = f"said {by['predicted']}" if group == "wrong" else f"{by['predictive_entropy_nats']:.2f} nats"
        if pictures is not None:
            picture = as_tensor(pictures[int(by["input"])]).numpy()
            column[0].imshow(picture, cmap="gray_r", vmin=0, vmax=1, interpolation="nearest")
        column[0].set_title(f"is {by['label']}, {said}", fontsize=7)
        for panel, (method, look) in zip(column[1:], looks.items(), strict=True):
            _draw_bars(panel, rows[rows["method"] == method], look)
        column[-1].tick_params(labelbottom=True)
    for column in axes.T[part["rank"].nunique() :]:
        for panel in column:
            panel.remove()
    for row in axes[1:]:
        row[0].set_yticks([0, 1])
    for row, method in zip(axes[1:], looks, strict=True):
        row[0].set_ylabel(method, fontsize=7)
    for panel in axes[0]:
        panel.set_axis_off()


def _draw_bars(axes: Axes, rows: DataFrame, look: MethodStyle) -> None:
    classes, label = rows["class"], rows["label"].iloc[0]
    axes.axvspan(label - 0.5, label + 0.5, color="0.88", linewidth=0)
    axes.bar(classes, rows["probability"], width=0.8, color=look.color)
    axes.set(xlim=(-0.7, len(classes) - 0.3), ylim=(0, 1.05), yticks=[])
    axes.set_xticks(range(0, len(classes), 3) if len(classes) > 4 else range(len(classes)))
    axes.tick_params(labelbottom=False, length=1.5, pad=1)
