"""The page of a report, put together from its templates."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from tsnn_uq.checks import InputError
from tsnn_uq.files import as_path, require_writable, write_text
from tsnn_uq.results.figures.style import method_styles
from tsnn_uq.results.page.contents import STATES, Contents, read_contents
from tsnn_uq.results.page.drawings import FigureGroup, drawings
from tsnn_uq.results.page.tables import result_tables
from tsnn_uq.results.tables import read_table

__all__ = ["render", "write_report"]


def write_report(
    folder: str | Path,
    out: str | Path,
    *,
    full: bool = False,
    data_dir: str | Path | None = None,
    device: str = "",
    say: Callable[[str], object] = lambda _: None,
) -> None:
    """Write one HTML page about a comparison, with its figures in it and nothing to fetch.

    The same folder gives the same bytes, with the same versions of this package, torch and matplotlib.

    Args:
        folder: what `tsnn-uq compare` or `tsnn-uq reproduce` wrote; unfinished runs are listed as such.
        out: the page's file.
        full: whether to add the figures for which networks predict anew.
        data_dir: where the data lie that these need.
        device: where networks run for these; empty for the device that each was trained on.
        say: told which figure is drawn.

    Raises:
        InputError: no finished run in the folder, a damaged file, or `out` cannot be written, which is found before
            any figure is drawn.
    """
    contents, out = read_contents(as_path(folder)), as_path(out)
    if out.is_dir():
        raise InputError(f"out: expected a file to write, such as report.html; got the folder {out}")
    require_writable(out.absolute().parent)
    write_text(out, render(contents, drawings(contents, full=full, data_dir=data_dir, device=device, say=say)))


def render(contents: Contents, figures: Sequence[FigureGroup]) -> str:
    """The page as HTML; whatever a template is given is escaped."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("tsnn_uq.results.page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"anchor": _anchor, "listed": _listed}
    layout = _layout(contents)
    methods = [kind.method for compared in contents.comparisons for kind in compared.seeds]
    sections = {
        "Results": True,
        "In the layout of the paper": layout is not None,
        "Figures": bool(figures),
        **dict.fromkeys(("Runs", "Configuration", "What the measures mean"), True),
    }
    return environment.get_template("page.html").render(
        contents=contents,
        tables=result_tables(contents),
        layout=layout,
        figures=figures,
        states=STATES,
        sections=[title for title, shown in sections.items() if shown],
        looks=method_styles([*methods, *(_method(row) for row in layout or ())]),
        versions=_versions(),
    )


def _layout(contents: Contents) -> list[dict[str, Any]] | None:
    """Our rows in the layout of the paper's table, where the folder has them."""
    path = contents.folder / "table.csv"
    if not path.exists():
        return None
    rows = read_table(path, "a table as tsnn-uq compare writes it", ("method",)).to_dict("records")
    return [{str(name): value for name, value in row.items()} | {"method": _method(row)} for row in rows]


def _method(row: dict[Any, Any]) -> str:
    """The method's name; that of float networks is "none" in the paper."""
    return "float" if row["method"] == "none" else str(row["method"])


def _anchor(title: str) -> str:
    return title.lower().replace(" ", "-")


def _listed(names: Iterable[object]) -> str:
    """Names in a sentence: "a, b and c"."""
    *most, last = map(str, names)
    return f"{', '.join(most)} and {last}" if most else last


def _versions() -> str:
    import matplotlib
    import torch

    from tsnn_uq import __version__

    return (
        f"Written by tsnn_uq {__version__} with torch {torch.__version__}, matplotlib {matplotlib.__version__} and "
        f"Python {platform.python_version()}; the runs may have been made with others."
    )
