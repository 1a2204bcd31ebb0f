"""The note below a figure: the data that it shows, and how to read it."""

from __future__ import annotations

from pathlib import PurePath
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame, Series

__all__ = ["describe", "explain", "foreign_name", "reference_of", "span"]

_SIZE = 6.5  # points
_LINE = 0.128  # inches from one line to the next
_MARGIN = 0.05  # inches to the left and right of the note
_SLACK = 0.94  # share of the width that is used, since letters are wider on a coarse screen than in print


def describe(table: DataFrame, **facts: Any) -> DataFrame:
    """Add constant columns that describe the data and networks of a table; existing columns are kept.

    Args:
        table: the table of a figure.
        facts: a value for each column. Figures show ``dataset``, ``family`` (the network's), ``quantized_part``,
            ``seed``, ``samples`` (S), ``inputs`` (N) and ``foreign`` (the foreign data set). Empty ones are left out.

    Example:
        >>> import pandas as pd
        >>> describe(pd.DataFrame({"seed": [1, 2]}), dataset="mnist", seed=0, foreign="").columns.tolist()
        ['seed', 'dataset']
    """
    known = {name: value for name, value in facts.items() if value not in ("", None)}
    return table.assign(**{name: value for name, value in known.items() if name not in table})


def explain(figure: Figure, table: DataFrame, *sentences: str) -> None:
    """Write a note below a figure, which grows by the height of the note.

    Args:
        figure: a figure with constrained layout, or with room for the note at the bottom.
        table: the table of the figure; the note begins with the facts that `describe` added.
        sentences: how to read the figure: the meaning of bands, bars, lines and shades.
    """
    text = " ".join(sentence for sentence in (*_facts(table), *sentences) if sentence)
    lines = _wrapped(text, _SLACK * (figure.get_figwidth() - 2 * _MARGIN))
    figure.set_figheight(figure.get_figheight() + _LINE * (len(lines) + 0.5))
    place = {"x": _MARGIN / figure.get_figwidth(), "ha": "left", "linespacing": 1.15}
    figure.supxlabel("\n".join(lines), fontsize=_SIZE, color="0.25", **place)


def foreign_name(table: DataFrame) -> str:
    """Name of the foreign inputs of a table."""
    return _short(table["foreign"].iloc[0]) if "foreign" in table else "foreign inputs"


def reference_of(table: DataFrame) -> str:
    """The method that a table compares the others with; by default ``"float"``."""
    return str(table["reference"].iloc[0]) if "reference" in table else "float"


def _facts(table: DataFrame) -> list[str]:
    """Sentences on data, networks, seeds and sizes, for those that the table has."""
    found = []
    if names := _names(table, "dataset"):
        found.append(f"Data: {names}.")
    networks = [
        _names(table, "family"),
        _parts(table),
        f"seed {span(table['seed'])}" if "seed" in table else "",
        f"means over {span(table['seeds'])} seeds" if "seeds" in table else "",
    ]
    if shown := ", ".join(filter(None, networks)):
        found.append(f"Networks: {shown}.")
    sizes = [f"N = {span(table['inputs'])} test inputs" if "inputs" in table else ""]
    if "samples" in table and table["samples"].max() > 1:
        sizes.append(f"S = {span(table['samples'])} Monte Carlo samples")
    if shown := ", ".join(filter(None, sizes)):
        found.append(f"{shown}.")
    return found


def _names(table: DataFrame, column: str) -> str:
    """The different names in a column, except "all", for means over them, if there are others."""
    names = [_short(name) for name in table[column].dropna().unique()] if column in table else []
    return ", ".join(name for name in names if name != "all" or len(names) == 1)


def _parts(table: DataFrame) -> str:
    """The ternary parts of the networks, unless all layers are ternary in each of them."""
    parts = table["quantized_part"].dropna().unique().tolist() if "quantized_part" in table else []
    names = [name for name in parts if name != "none"]
    return "" if names in ([], ["all"]) else f"ternary part{'s' * (len(names) > 1)} {', '.join(names)}"


def _short(name: object) -> str:
    """A component's name without the folder of its file."""
    return PurePath(str(name)).name


def span(values: Series[Any]) -> str:
    """Format the range of some whole numbers: ``"3"`` or ``"1 to 3"``."""
    low, high = values.min(), values.max()
    return f"{low:,.0f}" if low == high else f"{low:,.0f} to {high:,.0f}"


def _wrapped(text: str, width: float) -> list[str]:
    """Lines of at most `width` inches in the font of the figures."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    font = FontProperties(size=_SIZE)
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        fits = text_to_path.get_text_width_height_descent(longer, font, ismath=False)[0] <= 72 * width
        lines[-1:] = [longer] if fits or not lines[-1] else [lines[-1], word]
    return lines
