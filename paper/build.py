"""Build the report from results/: figures 1 and 2, the table, the numbers and the PDF. `make paper` calls this.

python -m paper.build
"""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
import typst

from paper.answers import quantization_costs, term_effects
from paper.bayesian_comparison import origin, write_posterior
from paper.redraw_figures import DIAGRAMS
from paper.report_numbers import numbers
from paper.report_sources import Sources, sha256
from paper.table_1 import paper_rows
from paper.table_cells import (
    SHOWN,
    cost_cells,
    draws_cells,
    foreign_cells,
    posterior_cells,
    regularizer_cells,
    summary_cells,
    text_cells,
    wu_cells,
)
from tsnn_uq.cli.main import run_command
from tsnn_uq.files import atomic_path, csv_text, read_json, write_json, write_text
from tsnn_uq.results.figures import save_figure

__all__ = ["build", "compile_report", "contents", "stale"]

ROOT = Path(__file__).parents[1]


def contents(sources: Sources) -> dict[str, Any]:
    """Everything that the Typst source reads: numbers, cells of tables, and paths of figures."""
    tables = {
        "wu": wu_cells(paper_rows(sources.theirs, sources.summary)),
        "calibration": summary_cells(sources.summary, [name for name, measure in SHOWN.items() if measure.better]),
        "uncertainty": summary_cells(sources.summary, [name for name, measure in SHOWN.items() if not measure.better]),
    }
    others = {"posterior": posterior_cells, "foreign": foreign_cells}
    others |= {"screening": regularizer_cells, "finals": regularizer_cells}
    tables |= {name: cells(sources.table(name)) for name, cells in others.items()}
    tables["costs"] = cost_cells(quantization_costs(sources.differences))
    finals = [term_effects(sources.table(key)) for key in ("finals", "finals-dropconnect", "finals-fashion")]
    tables["terms"] = text_cells(pd.concat(finals))
    tables["posteriors"] = draws_cells(sources.table("posteriors"))
    figures = {name: f"/{path.relative_to(sources.root).as_posix()}" for name, path in sources.figures.items()}
    return {"numbers": numbers(sources), "tables": tables, "figures": figures}


def compile_report(sources: Sources) -> bytes:
    """Compile the report to PDF with the fonts of Typst, so that pages are the same on every machine."""
    return typst.compile(sources.paper / "report.typ", root=sources.root, format="pdf", ignore_system_fonts=True)


def written(sources: Sources) -> dict[str, str]:
    """The texts that the build writes, by file name."""
    return {
        "table-1.csv": csv_text(paper_rows(sources.theirs, sources.summary)),
        "contents.json": json.dumps(contents(sources), indent=1, ensure_ascii=False) + "\n",
    }


def record(sources: Sources) -> dict[str, Any]:
    """The record of a build: the version of Typst, and hashes of all inputs and outputs."""
    inputs = [*sources.files, sources.paper / "diagrams.py"]
    drawn = [sources.paper / f"{name}.{kind}" for name in DIAGRAMS for kind in ("pdf", "png")]
    hashes = {
        group: {path.relative_to(sources.root).as_posix(): sha256(path) for path in sorted(paths) if path.exists()}
        for group, paths in (("inputs", inputs), ("outputs", [*drawn, sources.paper / "report.pdf"]))
    }
    return {"typst": version("typst"), **hashes}


def changed_files(sources: Sources) -> list[str]:
    """Inputs and outputs that were changed, added or removed since the last build."""
    kept, now = read_json(sources.paper / "report.json"), record(sources)
    kept, now = ({**found["inputs"], **found["outputs"]} for found in (kept, now))
    return sorted(name for name in kept | now if kept.get(name) != now.get(name))


def stale(root: Path = ROOT) -> list[str]:
    """Names of the files that differ from what `build` would write now."""
    sources = Sources(root)
    found = [
        name for name, text in written(sources).items() if (sources.paper / name).read_bytes() != text.encode("utf-8")
    ]
    found += ["report.json"] if changed_files(sources) else []
    # Another version of Typst may set different pages.
    if (
        read_json(sources.paper / "report.json")["typst"] == version("typst")
        and compile_report(sources) != (sources.paper / "report.pdf").read_bytes()
    ):
        found.append("report.pdf")
    path, results = _posterior(sources)
    return found + [path.name] * (path.exists() and not _is_of(path, results))


def _posterior(sources: Sources) -> tuple[Path, Path]:
    path = sources.results / sources.listed["posterior"]
    return path, path.with_name(path.name.removeprefix("posterior-"))


def _is_of(path: Path, results: Path) -> bool:
    return path.read_text(encoding="utf-8").startswith(origin(results))


def refresh_posterior(sources: Sources) -> None:
    """Recompute the posterior if it is not that of the rows in results/."""
    path, results = _posterior(sources)
    if results.exists() and not (path.exists() and _is_of(path, results)):
        print(f"{path}: of other rows; recomputing it (a minute)")
        write_posterior(results)


def build(root: Path = ROOT) -> Path:
    """Write all outputs to the folder of the report; returns the path of the PDF.

    Raises:
        InputError: a table or figure is missing or damaged. Nothing is written then.
    """
    sources = Sources(root)
    sources.require(made=[_posterior(sources)[0]])
    refresh_posterior(sources)
    for name, draw in DIAGRAMS.items():
        save_figure(draw(sources.table("weights")), sources.paper / name)
    for name, text in written(sources).items():
        write_text(sources.paper / name, text)
    with atomic_path(sources.paper / "report.pdf") as temporary:
        temporary.write_bytes(compile_report(sources))
    write_json(sources.paper / "report.json", record(sources))
    return sources.paper / "report.pdf"


def main() -> None:
    """Build the report."""
    print(build())


if __name__ == "__main__":
    run_command(main)
