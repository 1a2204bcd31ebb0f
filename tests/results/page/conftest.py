"""Comparisons of tiny networks, under a name that has to be escaped."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from markupsafe import Markup
from matplotlib.figure import Figure

from tests.helpers.experiments import tiny, undrawn
from tests.results.page.elements import Element, parse
from tsnn_uq.experiments import Grid, compare
from tsnn_uq.results.page import figure_section, write_report
from tsnn_uq.results.page.inline_figures import inline_figure

NAME = '<b>&"'


@pytest.fixture(autouse=True)
def _undrawn() -> Iterator[None]:
    with undrawn():
        yield


SVG = Markup('<svg role="img" aria-label="{}"></svg>')


@pytest.fixture
def unrendered(monkeypatch) -> None:
    """Figures are made, but do not become SVG, which takes most of the time."""
    monkeypatch.setattr(figure_section, "inline_figure", lambda figure, name, text: SVG.format(text))


@pytest.fixture(scope="session")
def comparison(tmp_path_factory):
    """Two methods with two seeds each, all finished."""
    out = tmp_path_factory.mktemp("comparison") / NAME
    with undrawn():
        compare(Grid(methods=("float", "direct"), seeds=2, run=tiny()), out)
    return out


@pytest.fixture(scope="session")
def families(tmp_path_factory):
    """Families in folders of their own, and the table in the paper's layout."""
    out = tmp_path_factory.mktemp("families") / "all"
    plif = tiny(family="plif")
    grids = [Grid(families=("dropout", "dropconnect"), methods=("float", "direct"), seeds=1, run=tiny())]
    grids.append(Grid(families=("plif",), parts=("conv", "all"), methods=("float", "direct"), seeds=1, run=plif))
    with undrawn():
        compare(grids, out)
    return out


@pytest.fixture(scope="session")
def page(comparison, tmp_path_factory) -> Path:
    """The report of the comparison, of whose figures one is rendered."""

    def inline(figure: Figure, name: str, text: str) -> str:
        return inline_figure(figure, name, text) if "Reliability" in name else SVG.format(text)

    path = tmp_path_factory.mktemp("page") / "report.html"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(figure_section, "inline_figure", inline)
        write_report(comparison, path)
    return path


@pytest.fixture(scope="session")
def drawn_page(comparison, tmp_path_factory) -> Path:
    """The report of the comparison, with all its figures."""
    path = tmp_path_factory.mktemp("page") / "report.html"
    write_report(comparison, path)
    return path


@pytest.fixture(scope="session")
def families_page(families, tmp_path_factory) -> Path:
    """The report of the families, with one figure each, which are not rendered."""
    path = tmp_path_factory.mktemp("page") / "report.html"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(figure_section, "STORED", {"Reliability": figure_section.STORED["Reliability"]})
        patch.setattr(figure_section, "inline_figure", lambda figure, name, text: SVG.format(text))
        write_report(families, path)
    return path


@pytest.fixture(scope="session")
def root(page) -> Element:
    """The report of the comparison, read."""
    return parse(page.read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def families_root(families_page) -> Element:
    """The report of the families, read."""
    return parse(families_page.read_text(encoding="utf-8"))
