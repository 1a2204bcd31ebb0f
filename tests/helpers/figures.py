"""What a reader would complain about in a figure, measured on the drawn page."""

from __future__ import annotations

from itertools import combinations

from matplotlib.figure import Figure
from matplotlib.text import Text


def drawn_texts(figure: Figure) -> list[Text]:
    """Every text that is visible and not empty, after the layout was made."""
    figure.draw_without_rendering()
    axes_on = [axes for axes in figure.axes if axes.get_visible()]
    texts = [text for text in figure.findobj(Text) if text.get_visible() and text.get_text().strip()]
    # Tick labels that a shared axis switched off are still objects; they have no place on the page.
    return [text for text in texts if _is_drawn(text, axes_on)]


def _is_drawn(text: Text, axes_list: list) -> bool:
    for axes in axes_list:
        for axis in (axes.xaxis, axes.yaxis):
            for tick in [*axis.get_major_ticks(), *axis.get_minor_ticks()]:
                if text in (tick.label1, tick.label2):
                    low, high = sorted(axis.get_view_interval())
                    return low <= tick.get_loc() <= high
    return True


def faults(figure: Figure) -> list[str]:
    """Texts that overlap each other or leave the page."""
    boxes = {text: text.get_window_extent() for text in drawn_texts(figure)}
    page = figure.bbox
    found = [
        f"{a.get_text()!r} overlaps {b.get_text()!r}" for a, b in combinations(boxes, 2) if boxes[a].overlaps(boxes[b])
    ]
    outside = [
        text.get_text()
        for text, box in boxes.items()
        if box.x0 < page.x0 or box.y0 < page.y0 or box.x1 > page.x1 or box.y1 > page.y1
    ]
    return found + [f"{text!r} leaves the page" for text in outside]
