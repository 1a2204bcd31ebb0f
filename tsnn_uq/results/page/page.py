"""The page of a report, put together."""

from __future__ import annotations

import platform
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from string import Template

from tsnn_uq.checks import InputError
from tsnn_uq.files import as_path, require_writable, write_text
from tsnn_uq.results.page.contents import Contents, read_contents
from tsnn_uq.results.page.drawings import drawings
from tsnn_uq.results.page.html import Html, element, joined
from tsnn_uq.results.page.sections import configuration, introduction, paper_layout, progress, results

__all__ = ["write_report"]


def write_report(
    folder: str | Path,
    out: str | Path,
    *,
    full: bool = False,
    data_dir: str | Path | None = None,
    say: Callable[[str], object] = lambda _: None,
) -> None:
    """Write one HTML page about a comparison, with its figures in it and nothing to fetch.

    The same folder gives the same bytes, with the same versions of this package, torch and matplotlib.

    Args:
        folder: what `tsnn-uq compare` or `tsnn-uq reproduce` wrote; unfinished runs are listed as such.
        out: the page's file.
        full: whether to add the figures for which networks predict anew.
        data_dir: where the data lie that these need.
        say: told which figure is drawn.

    Raises:
        InputError: no finished run in the folder, a damaged file, or `out` cannot be written, which is found before
            any figure is drawn.
    """
    contents, out = read_contents(as_path(folder)), as_path(out)
    if out.is_dir():
        raise InputError(f"out: expected a file to write, such as report.html; got the folder {out}")
    require_writable(out.absolute().parent)
    write_text(out, _page(contents, drawings(contents, full=full, data_dir=data_dir, say=say)))


def _page(contents: Contents, figures: Html) -> str:
    sections = {
        "Results": results(contents),
        "In the layout of the paper": paper_layout(contents),
        "Figures": figures,
        "Runs": progress(contents),
        "Configuration": configuration(contents),
        "What the measures mean": Html(_read("glossary.html")),
    }
    sections = {title: body for title, body in sections.items() if body}
    links = (element("li", element("a", title, href=f"#{_anchor(title)}")) for title in sections)
    body = joined(
        element("section", element("h2", title, id=_anchor(title)), content) for title, content in sections.items()
    )
    return Template(_read("page.html")).substitute(
        title=joined([f"Report of {contents.name}"]),
        style=_read("style.css"),
        script=_read("sort.js"),
        introduction=introduction(contents),
        links=joined(links),
        sections=body,
        versions=joined([_versions()]),
    )


def _anchor(title: str) -> str:
    return title.lower().replace(" ", "-")


def _read(name: str) -> str:
    return files("tsnn_uq.results.page").joinpath(name).read_text(encoding="utf-8")


def _versions() -> str:
    import matplotlib
    import torch

    from tsnn_uq import __version__

    return (
        f"Written by tsnn_uq {__version__} with torch {torch.__version__}, matplotlib {matplotlib.__version__} and "
        f"Python {platform.python_version()}; the runs may have been made with others."
    )
