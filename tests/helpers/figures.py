"""What a reader would complain about in a figure, measured on the drawn page."""

from __future__ import annotations

from weakref import WeakSet

import numpy as np
from matplotlib.figure import Figure
from matplotlib.text import Text

_DRAWN: WeakSet[Figure] = WeakSet()


def drawn_texts(figure: Figure) -> list[Text]:
    """Every text that is visible and not empty, after the layout was made, once for each figure."""
    if figure not in _DRAWN:
        figure.draw_without_rendering()
        _DRAWN.add(figure)
    # Tick labels beyond the axes' limits, or that a shared axis switched off, are still objects without a place.
    off = {
        label
        for axes in figure.axes
        if axes.get_visible()
        for axis in (axes.xaxis, axes.yaxis)
        for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks())
        if not min(axis.get_view_interval()) <= tick.get_loc() <= max(axis.get_view_interval())
        for label in (tick.label1, tick.label2)
    }
    texts = figure.findobj(Text)
    return [text for text in texts if text.get_visible() and text.get_text().strip() and text not in off]


def faults(figure: Figure) -> list[str]:
    """Texts that overlap each other or leave the page."""
    texts = drawn_texts(figure)
    x0, y0, x1, y1 = np.array([text.get_window_extent().extents for text in texts]).reshape(-1, 4).T
    overlaps = (x0[:, None] <= x1) & (x0 <= x1[:, None]) & (y0[:, None] <= y1) & (y0 <= y1[:, None])
    page = figure.bbox
    outside = (x0 < page.x0) | (y0 < page.y0) | (x1 > page.x1) | (y1 > page.y1)
    said = [text.get_text() for text in texts]
    pairs = [f"{said[i]!r} overlaps {said[j]!r}" for i, j in np.argwhere(np.triu(overlaps, 1))]
    return pairs + [f"{said[i]!r} leaves the page" for i in np.flatnonzero(outside)]
