"""Render the page of a report from its templates."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tsnn_uq.checks import InputError
from tsnn_uq.files import as_path, require_writable, write_text
from tsnn_uq.results.figures.style import method_styles
from tsnn_uq.results.page.figure_catalog import DescribedFigure, prediction_figures
from tsnn_uq.results.page.figure_section import FigureGroup, sections_of_predictions, sections_of_runs
from tsnn_uq.results.page.folder_contents import STATES, FolderContents, read_folder
from tsnn_uq.results.page.page_tables import named_tables, result_tables
from tsnn_uq.results.paired_differences import NetworkTables
from tsnn_uq.results.predictions import NamedPredictions
from tsnn_uq.results.tables import read_table

__all__ = ["render", "write_predictions_report", "write_report"]


def write_report(
    folder: str | Path,
    out: str | Path,
    *,
    full: bool = False,
    data_dir: str | Path | None = None,
    device: str = "",
    reference: str = "",
    progress: Callable[[str, int, int], object] = lambda *_: None,
) -> None:
    """Write a comparison as one self-contained HTML page with figures.

    The same folder gives the same bytes, with the same versions of this package, torch and matplotlib.

    Args:
        folder: a folder that `tsnn-uq compare` or `tsnn-uq reproduce` wrote; unfinished runs are listed as such.
        out: path of the page.
        full: whether to add the figures for which networks predict again.
        data_dir: the data folder for these figures.
        device: the device for these figures; empty for the device that each network was trained on.
        reference: the method that the others are compared with; by default the first.
        progress: called with the title of a figure, the number of figures drawn, and their total number.

    Raises:
        InputError: the folder has no finished run, a file is damaged, or `out` is not writable, which is checked
            before any figure is drawn.
    """
    contents, out = read_folder(as_path(folder)), _writable(out)
    options: dict[str, Any] = {"full": full, "data_dir": data_dir, "device": device, "reference": reference}
    write_text(out, render(contents, sections_of_runs(contents, **options, progress=progress)))


def write_predictions_report(
    networks: NamedPredictions | NetworkTables,
    out: str | Path,
    *,
    sources: Mapping[str, Sequence[str]] | None = None,
    figures: Mapping[str, Callable[[], DescribedFigure]] | None = None,
    bins: int = 15,
    progress: Callable[[str, int, int], object] = lambda *_: None,
) -> None:
    """Write predictions of named networks, of any origin, as one HTML page.

    The page has tables over all seeds, paired differences from the reference, and all figures that can be drawn from
    the predictions; other figures are listed with what they need. The same predictions give the same bytes, with the
    same versions of this package, torch and matplotlib.

    Args:
        networks: the networks, or their tables if these have been computed already.
        out: path of the page.
        sources: by name, the origin of each seed's predictions, for the list on the page.
        figures: the return value of `prediction_figures` for the networks, if it exists already.
        bins: number of bins of calibration errors.
        progress: as for `write_report`.

    Raises:
        InputError: `out` is not writable, which is checked before anything is computed.
    """
    out = _writable(out)
    tables = networks if isinstance(networks, NetworkTables) else NetworkTables(networks, bins)
    networks = tables.networks
    given = prediction_figures(tables) if figures is None else figures
    drawn = sections_of_predictions(tables, given, progress=progress)
    page = _render(
        title=networks.title or ", ".join(networks.names),
        introduction="introduction_predictions.html",
        networks=networks,
        members=_members(networks, sources or {}),
        tables=named_tables(tables),
        figures=drawn,
        methods=networks.names,
    )
    write_text(out, page)


def _members(networks: NamedPredictions, sources: Mapping[str, Sequence[str]]) -> list[list[str]]:
    """A row for each network and seed that describes its predictions."""
    rows = []
    for name, of in networks.members.items():
        for seed, one in enumerate(of):
            source = sources[name][seed] if seed < len(sources.get(name, ())) else "-"
            probs, steps = one.test.probs, one.test.over_time
            others = [part for part in one.parts() if part != "test"]
            sizes = [f"{probs.shape[0]}", "-" if steps is None else f"{steps.shape[1]}", f"{probs.shape[1]:,}"]
            rows.append([name, source, *sizes, f"{probs.shape[2]}", ", ".join(others) or "-"])
    return rows


def render(contents: FolderContents, figures: Sequence[FigureGroup]) -> str:
    """The page of a comparison as HTML."""
    layout = _layout(contents)
    methods = [kind.method for compared in contents.comparisons for kind in compared.seeds]
    return _render(
        title=contents.name,
        introduction="introduction.html",
        contents=contents,
        tables=result_tables(contents),
        layout=layout,
        figures=figures,
        methods=[*methods, *(_method(row) for row in layout or ())],
    )


def _writable(out: str | Path) -> Path:
    """The path of a page, after a check that it is writable."""
    out = as_path(out)
    if out.is_dir():
        raise InputError(f"out: expected a file to write, such as report.html; got the folder {out}")
    require_writable(out.absolute().parent)
    return out


def _render(*, figures: Sequence[FigureGroup], methods: Iterable[str], **given: Any) -> str:
    """Render a page; values in templates are escaped."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("tsnn_uq.results.page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["listed"] = _listed
    given = {"contents": None, "layout": None, "members": None, **given}
    sections = {
        "Results": True,
        "In the layout of the paper": given["layout"] is not None,
        "Figures": bool(figures),
        "Runs": given["contents"] is not None,
        "Configuration": given["contents"] is not None,
        "Predictions": given["members"] is not None,
        "What the measures mean": True,
    }
    return environment.get_template("page.html").render(
        figures=figures,
        states=STATES,
        sections=[title for title, shown in sections.items() if shown],
        looks=method_styles(methods),
        versions=_versions(),
        **given,
    )


def _layout(contents: FolderContents) -> list[dict[str, Any]] | None:
    """Our rows in the layout of the paper's table, if the folder has them."""
    path = contents.folder / "table.csv"
    if not path.exists():
        return None
    rows = read_table(path, "a table written by tsnn-uq compare", ("method",)).to_dict("records")
    return [{str(name): value for name, value in row.items()} | {"method": _method(row)} for row in rows]


def _method(row: dict[Any, Any]) -> str:
    """Name of the method; the paper has "none" for float networks."""
    return "float" if row["method"] == "none" else str(row["method"])


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
