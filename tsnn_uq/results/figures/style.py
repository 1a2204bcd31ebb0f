"""The style of all figures: sizes, fonts, and the same colour, marker, line and hatch for a method everywhere.

Colours are from the colour-blind safe palette of Okabe and Ito (2008) and also differ in lightness. Markers, lines and
hatches distinguish the methods in grey prints.
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
    "font.family": "DejaVu Sans",  # comes with matplotlib, so it is the same on every machine
    "font.size": 8,
    "hatch.linewidth": 0.5,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "lines.linewidth": 1.0,
    "lines.markersize": 3.5,
    "pdf.fonttype": 42,  # text can be searched and edited
    "savefig.dpi": 200,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
}


def style() -> AbstractContextManager[None]:
    """Context with the style of all figures; matplotlib's settings are restored afterwards.

    Example:
        >>> import matplotlib
        >>> with style():
        ...     matplotlib.rcParams["pdf.fonttype"]
        42
    """
    import matplotlib.style

    return matplotlib.style.context(_RC, after_reset=True)


def new_figure(height: float, panels: int) -> Figure:
    """An empty figure outside pyplot's registry, `height` inches high; as wide as a page if it has several panels."""
    from matplotlib.figure import Figure

    return Figure(figsize=(COLUMN_WIDTH if panels == 1 else PAGE_WIDTH, height), layout="constrained")


def in_order(methods: Iterable[str]) -> list[str]:
    """Method names in the order of a figure: our own methods with float first, others in order of appearance.

    Raises:
        InputError: there is no method.

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
    """The style of each method of a figure, in the order of `in_order`.

    Methods of this package have the same style in all figures. Others get the remaining styles in order of appearance,
    styles of our methods that the figure does not show last. Methods share a style only if there are more than seven.

    Raises:
        InputError: there is no method.

    Example:
        >>> [look.color for look in method_styles(["mine", "float", "yours"]).values()]
        ['#D55E00', '#000000', '#CC79A7']
    """
    names = in_order(methods)
    left = cycle([*_OTHERS, *(look for name, look in METHOD_STYLES.items() if name not in names)])
    return {name: METHOD_STYLES[name] if name in METHOD_STYLES else next(left) for name in names}


def as_tensor(array: Array) -> Tensor:
    """Copy a tensor or numpy array to a tensor on the CPU, detached from the graph."""
    return torch.asarray(array, device="cpu", requires_grad=False, copy=True)


def wrapped(label: str, letters: int = 15) -> str:
    """Wrap a label to lines of at most 15 letters, for small panels, or of another number."""
    return "\n".join(textwrap.wrap(label, letters, break_on_hyphens=False))


def save_figure(figure: Figure, path_without_suffix: Path | str) -> tuple[Path, Path]:
    """Write a figure as PDF, with vector text, and as PNG with 200 dots per inch, each atomically.

    The files have no date of creation, so the same figure gives the same bytes.

    Args:
        figure: any matplotlib figure.
        path_without_suffix: e.g. ``figures/reliability``; its folder is created.

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
    """Keep the layout of the last drawing, which saves half of the time and is the same in all files."""
    engine = figure.get_layout_engine()
    figure.set_layout_engine("none")
    try:
        yield
    finally:
        figure.set_layout_engine(engine)


def save_plot(figure: Figure, table: DataFrame, path_without_suffix: Path | str) -> tuple[Path, Path, Path]:
    """Write a figure as `save_figure` does, and a CSV file with exactly the numbers that it shows.

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
