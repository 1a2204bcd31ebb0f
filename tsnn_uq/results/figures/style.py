"""One look for all figures: sizes, fonts, and the same colour, marker, line and hatch for a method everywhere.

Colours are from Okabe and Ito's palette (2008), which colour-blind readers can tell apart, and were chosen to differ
in lightness as well; markers, lines and hatches carry the same distinction into a grey print.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from tsnn_uq.checks import InputError
from tsnn_uq.files import as_path, atomic_path, csv_text, write_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame

__all__ = [
    "COLUMN_WIDTH",
    "METHOD_COLORS",
    "METHOD_STYLES",
    "PAGE_WIDTH",
    "Array",
    "MethodStyle",
    "as_tensor",
    "in_order",
    "method_styles",
    "new_figure",
    "save_figure",
    "save_plot",
    "style",
    "wrapped",
]

Array = Tensor | np.ndarray[Any, Any]
COLUMN_WIDTH, PAGE_WIDTH = 3.5, 7.0  # inches


class MethodStyle(NamedTuple):
    """How a training method is drawn."""

    color: str
    marker: str
    line: str
    hatch: str

    @property
    def curve(self) -> dict[str, Any]:
        """The options of matplotlib for a curve, and for its entry in a legend."""
        return {"color": self.color, "marker": self.marker, "linestyle": self.line}


METHOD_STYLES = {
    "float": MethodStyle("#000000", "o", "-", ""),
    "direct": MethodStyle("#0072B2", "s", "--", "////"),
    "indirect": MethodStyle("#E69F00", "^", "-.", "\\\\\\\\"),
    "distill": MethodStyle("#009E73", "D", ":", "...."),
}
_OTHERS = (
    MethodStyle("#D55E00", "o", "-", "xx"),
    MethodStyle("#CC79A7", "s", "--", "++"),
    MethodStyle("#56B4E9", "^", "-.", "oo"),
)
METHOD_COLORS = {name: look.color for name, look in METHOD_STYLES.items()}

_RC = {
    "axes.axisbelow": True,
    "axes.labelsize": 8,
    "axes.linewidth": 0.6,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 8,
    "font.family": "DejaVu Sans",  # comes with matplotlib, so every machine draws the same letters
    "font.size": 8,
    "hatch.linewidth": 0.5,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "lines.linewidth": 1.0,
    "lines.markersize": 3.5,
    "pdf.fonttype": 42,  # text stays text: it can be searched, and edited by a journal
    "savefig.dpi": 200,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
}


def style() -> AbstractContextManager[None]:
    """The look of all figures as a context; matplotlib's settings are the caller's again afterwards.

    Example:
        >>> import matplotlib
        >>> with style():
        ...     matplotlib.rcParams["pdf.fonttype"]
        42
    """
    import matplotlib.style

    return matplotlib.style.context(_RC, after_reset=True)


def new_figure(height: float, panels: int) -> Figure:
    """An empty figure outside pyplot's registry: a column wide for one panel, else a page; `height` in inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(COLUMN_WIDTH if panels == 1 else PAGE_WIDTH, height), layout="constrained")


def in_order(methods: Iterable[str]) -> list[str]:
    """Method names in the order of a figure: as they appear, the first being the reference; our own, float first.

    Raises:
        InputError: none at all.

    Example:
        >>> in_order(["indirect", "float"]), in_order(["mine", "float"])
        (['float', 'indirect'], ['mine', 'float'])
    """
    given = dict.fromkeys(methods)
    if not given:
        raise InputError("predictions: expected at least one method; got none")
    ours = all(name in METHOD_STYLES for name in given)
    return [name for name in METHOD_STYLES if name in given] if ours else list(given)


def method_styles(methods: Iterable[str]) -> dict[str, MethodStyle]:
    """The look of each method of a figure, methods in the order of `in_order`.

    Methods of this package look alike in all figures. Others take the remaining looks as they appear; those of methods
    that the figure does not show come last, and no two methods share a look unless there are more than seven.

    Raises:
        InputError: none at all.

    Example:
        >>> [look.color for look in method_styles(["mine", "float", "yours"]).values()]
        ['#D55E00', '#000000', '#CC79A7']
    """
    names = in_order(methods)
    left = cycle([*_OTHERS, *(look for name, look in METHOD_STYLES.items() if name not in names)])
    return {name: METHOD_STYLES[name] if name in METHOD_STYLES else next(left) for name in names}


def as_tensor(array: Array) -> Tensor:
    """A tensor or numpy array (read-only ones too) as a tensor on the CPU, outside any graph."""
    return torch.asarray(array, device="cpu", requires_grad=False, copy=True)


def wrapped(label: str) -> str:
    """A label on lines of at most 15 letters, as they fit beside or above a small panel."""
    return "\n".join(textwrap.wrap(label, 15, break_on_hyphens=False))


def save_figure(figure: Figure, path_without_suffix: Path | str) -> tuple[Path, Path]:
    """Write a figure as PDF, with vector text, and as PNG of 200 dots per inch, each atomically.

    Nothing in the files tells when they were made, so the same figure gives the same bytes.

    Args:
        figure: any matplotlib figure.
        path_without_suffix: e.g. ``figures/reliability``; its folder is made.

    Returns:
        The paths of the PDF and the PNG.

    Raises:
        InputError: the path ends in ``.pdf`` or ``.png``, or cannot be written.
    """
    path = as_path(path_without_suffix)
    if path.suffix in (".pdf", ".png"):
        raise InputError(f"path_without_suffix: expected a path without {path.suffix}; got {str(path)!r}")
    pdf, png = (path.with_name(f"{path.name}.{suffix}") for suffix in ("pdf", "png"))
    with style():
        with atomic_path(pdf) as temporary:
            figure.savefig(temporary, metadata={"CreationDate": None})
        with atomic_path(png) as temporary, _laid_out(figure):
            figure.savefig(temporary)
    return pdf, png


@contextmanager
def _laid_out(figure: Figure) -> Iterator[None]:
    """Leave all where the last drawing put it, which is the slower half of drawing, and alike in all files."""
    engine = figure.get_layout_engine()
    figure.set_layout_engine("none")
    try:
        yield
    finally:
        figure.set_layout_engine(engine)


def save_plot(figure: Figure, table: DataFrame, path_without_suffix: Path | str) -> tuple[Path, Path, Path]:
    """Write a figure as `save_figure` does, and beside it a CSV of exactly the numbers that it shows.

    Args:
        figure: any matplotlib figure.
        table: its numbers.
        path_without_suffix: e.g. ``figures/reliability``.

    Returns:
        The paths of the CSV, the PDF and the PNG.

    Raises:
        InputError: as `save_figure`.
    """
    files = save_figure(figure, path_without_suffix)
    numbers = files[0].with_suffix(".csv")
    write_text(numbers, csv_text(table))
    return (numbers, *files)
