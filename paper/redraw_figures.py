"""Redraw every committed figure from its committed table: those of figures/, and the two of the report.

python -m paper.redraw_figures
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from paper.diagrams import draw_methods, draw_workflow
from paper.report_sources import Sources
from tsnn_uq.checks import InputError, check_choice
from tsnn_uq.cli.main import run_command
from tsnn_uq.files import read_toml
from tsnn_uq.results import figures
from tsnn_uq.results.figures import save_figure
from tsnn_uq.results.tables import read_table

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame

__all__ = ["DIAGRAMS", "drawn_figures", "listed_figures", "redraw"]

ROOT = Path(__file__).parents[1]
DIAGRAMS = {"figure-1": draw_workflow, "figure-2": draw_methods}
"""Figures of the report that are drawn here, from the table of weights."""


def listed_figures(root: Path = ROOT) -> dict[str, Callable[[DataFrame], Figure]]:
    """The function that draws each figure in figures/, by name, from ``list.toml``.

    Raises:
        InputError: a table is not listed, a listed table is missing, or a function is unknown.
    """
    listed = read_toml(root / "figures" / "list.toml")
    tables = {path.stem for path in (root / "figures").glob("*.csv")}
    if missing := sorted(listed.keys() - tables):
        raise InputError(f"figures/list.toml: expected a CSV for each figure; got none of {', '.join(missing)}")
    if unlisted := sorted(tables - listed.keys()):
        raise InputError(f"figures/list.toml: expected an entry for each CSV; got none of {', '.join(unlisted)}")
    return {
        name: getattr(figures, check_choice(name, entry["draw"], figures.__all__)) for name, entry in listed.items()
    }


def drawn_figures(root: Path = ROOT) -> Iterator[tuple[Path, Figure]]:
    """Every committed figure and the path of its files without suffix; raises as `listed_figures`."""
    for name, draw in listed_figures(root).items():
        yield root / "figures" / name, draw(read_table(root / "figures" / f"{name}.csv"))
    sources = Sources(root)
    for name, diagram in DIAGRAMS.items():
        yield sources.paper / name, diagram(sources.table("weights"))


def redraw(root: Path = ROOT) -> None:
    """Write every committed figure again as PDF and PNG, and print the paths."""
    for path, figure in drawn_figures(root):
        for file in save_figure(figure, path):
            print(file.relative_to(root))


def main() -> None:
    """Redraw the committed figures."""
    redraw()


if __name__ == "__main__":
    run_command(main)
