"""Recordings of an event camera to be looked at: each event in time, and pictures of them saccade by saccade."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tsnn_uq.checks import InputError, check_choice
from tsnn_uq.results.figures.style import Array, new_figure, style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["SACCADES_MS", "event_picture", "event_raster"]

SACCADES_MS = (0.0, 90.0, 225.0)  # N-MNIST's camera rests between them
_SIGNS = {"OFF": "#E69F00", "ON": "#0072B2"}  # by polarity, 0 and 1; they differ in lightness too
_SIDE = 34
_LABELS = {"pixel": "Pixel (34 y + x)", "x": "Column x", "y": "Row y"}


def event_raster(events: Sequence[Array], *, axis: str = "pixel", saccades_ms: Sequence[float] = SACCADES_MS) -> Figure:
    """Every event of a recording as a point, its time against where it was.

    Args:
        events: (x, y, polarity, time in microseconds), four arrays [E], as `tsnn_uq.data.read_events` and
            `tsnn_uq.data.EventDataset.events` give them; 34 x 34 pixels.
        axis: ``"pixel"`` (34 y + x), ``"x"`` or ``"y"``.
        saccades_ms: where each movement of the camera begins, in milliseconds; a line marks all but the first.

    Returns:
        The figure, a page wide.

    Raises:
        InputError: the arrays differ in length, are empty or lie outside the sensor, or `axis` is unknown.
    """
    check_choice("axis", axis, _LABELS)
    x, y, polarity, time_us = _checked(events)
    height = {"pixel": _SIDE * y + x, "x": x, "y": y}[axis]
    with style():
        figure = new_figure(3.2, panels=2)
        axes = figure.subplots()
        for sign, (name, color) in enumerate(_SIGNS.items()):
            chosen = polarity == sign
            label = f"{name} ({chosen.sum():,})"
            axes.scatter(time_us[chosen] / 1000, height[chosen], s=3, color=color, linewidths=0, label=label)
        for begin in saccades_ms[1:]:
            axes.axvline(begin, color="0.6", linestyle=(0, (4, 3)), linewidth=0.8, zorder=0)
        top = _SIDE**2 if axis == "pixel" else _SIDE
        axes.set(xlabel="Time (ms)", ylabel=_LABELS[axis], xlim=(0, None), ylim=(-0.02 * top, 1.02 * top))
        if axis != "x":
            axes.invert_yaxis()  # as in the picture, the first row is on top
        figure.legend(loc="outside upper center", ncols=2, markerscale=3)
    return figure


def event_picture(events: Sequence[Array], *, saccades_ms: Sequence[float] = SACCADES_MS) -> Figure:
    """The events of a recording counted pixel by pixel, a panel for each saccade.

    A pixel takes the more of a polarity's colour the more events it sent, by one scale for all panels, and is dark
    where it sent both. The scale ends at the count that 99.5 % of the pixels with events keep within, lest one that is
    out of order leaves the others pale.

    Args:
        events: as for `event_raster`.
        saccades_ms: where each panel's time begins, in milliseconds, in order; the last has all that follows.

    Returns:
        The figure, a column wide for one panel, else a page.

    Raises:
        InputError: as for `event_raster`, or the times are none or out of order.
    """
    if not len(saccades_ms) or (np.diff(saccades_ms) <= 0).any():
        raise InputError(f"saccades_ms: expected at least one time, in order; got {list(saccades_ms)}")
    x, y, polarity, time_us = _checked(events)
    panel = np.searchsorted(1000 * np.asarray(saccades_ms), time_us, side="right") - 1
    chosen = panel >= 0  # those before the first panel's time are in none
    counts = np.zeros((len(saccades_ms), 2, _SIDE, _SIDE))
    np.add.at(counts, tuple(field[chosen] for field in (panel, polarity, y, x)), 1)
    scale = max(1.0, float(np.quantile(counts[counts > 0], 0.995))) if counts.any() else 1.0
    spans = [f"{begin:g} to {end:g} ms" for begin, end in pairwise(saccades_ms)] + [f"from {saccades_ms[-1]:g} ms"]
    with style():
        figure = new_figure(2.7, panels=len(saccades_ms))
        figure.set_layout_engine("compressed")  # the panels are square
        row = figure.subplots(1, len(saccades_ms), sharey=True, squeeze=False)[0]
        for axes, count, span in zip(row, counts, spans, strict=True):
            axes.imshow(_mixed(count / scale), interpolation="nearest")
            off, on = count.sum((1, 2)).astype(int)
            axes.set(title=f"{span}\n{on:,} ON, {off:,} OFF", xlabel="Column x", xticks=[0, 33], yticks=[0, 33])
        row[0].set_ylabel("Row y")
        _draw_legend(figure, scale)
        figure.draw_without_rendering()  # with square panels, the layout settles at the second drawing
    return figure


def _checked(events: Sequence[Array]) -> list[NDArray[np.int64]]:
    fields = [np.asarray(field).astype(np.int64) for field in events]
    shapes = sorted({field.shape for field in fields})
    if len(fields) != 4 or len(shapes) != 1 or len(shapes[0]) != 1:
        got = f"{len(fields)} of shapes {', '.join(str(list(shape)) for shape in shapes)}"
        raise InputError(f"events: expected x, y, polarity and time, four arrays [E]; got {got}")
    if not shapes[0][0]:
        raise InputError("events: expected at least one event; got none")
    for name, field, limit in zip(("x", "y", "polarity"), fields, (_SIDE, _SIDE, 2), strict=False):
        if field.min() < 0 or field.max() >= limit:
            wanted = f"{name} from 0 to {limit - 1}"
            raise InputError(f"events: expected {wanted}; got values from {field.min()} to {field.max()}")
    return fields


def _mixed(share: NDArray[Any]) -> NDArray[Any]:
    """Colours [H, W, 3] of shares [2, H, W]: each polarity takes its colour's complement from white, as ink does."""
    from matplotlib.colors import to_rgb

    ink = 1 - np.array([to_rgb(color) for color in _SIGNS.values()])
    white: NDArray[Any] = 1 - np.tensordot(share.clip(0, 1), ink, axes=(0, 0))
    return white.clip(0, 1)


def _draw_legend(figure: Figure, scale: float) -> None:
    from matplotlib.patches import Patch

    shares = {"ON": (0.0, 1.0), "OFF": (1.0, 0.0), "both": (1.0, 1.0)}
    colors = {name: tuple(_mixed(np.reshape(share, (2, 1, 1)))[0, 0]) for name, share in shares.items()}
    handles = [Patch(label=name, facecolor=color, edgecolor="0.2") for name, color in colors.items()]
    title = f"full colour: {scale:.0f} or more events of a pixel"
    figure.legend(handles=handles, title=title, title_fontsize=7, loc="outside upper center", ncols=3)
