"""The main job: a grid of runs, its tables and its figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table
from torch import Tensor

from tsnn_uq.checks import InputError
from tsnn_uq.experiments.config import RunConfig, run_name
from tsnn_uq.experiments.folder import is_begun, is_finished, read_predictions, require_same
from tsnn_uq.experiments.grid import Grid
from tsnn_uq.experiments.measure import silent
from tsnn_uq.experiments.run import require_feasible
from tsnn_uq.experiments.sweep import RunProgress, sweep
from tsnn_uq.experiments.tables import read_results, render_table, summarize, write_results, write_summary
from tsnn_uq.experiments.workers import HOUR_S
from tsnn_uq.files import remove_leftovers
from tsnn_uq.training import METHODS

__all__ = ["Comparison", "claim", "compare", "draw_figures", "read_comparison", "run_folder", "write_comparison"]


@dataclass(frozen=True)
class Comparison:
    """What `compare` made: the table to look at, and the files."""

    table: Table
    files: tuple[Path, ...]


def compare(
    grid: Grid,
    out: Path,
    *,
    jobs: int = 1,
    data_dir: Path | None = None,
    checkpoint_seconds: float = 20.0,
    progress: RunProgress = silent,
) -> Comparison:
    """Do all runs of a grid; write its table, summary, figures and configuration into `out`.

    A grid may grow in its folder, by seeds, methods, families or parts; the settings of its runs may not change.

    Args:
        grid: what to compare.
        out: the folder; runs lie in its subfolder ``runs``. Finished ones are not done again.
        jobs: runs done side by side.
        data_dir: where the data lie.
        checkpoint_seconds: least time between two checkpoints of a run.
        progress: told what each run does.

    Returns:
        The table and the paths of the files.

    Raises:
        InputError: `out` holds a comparison with other settings, or what a run raises.
    """
    claim(out, grid)
    rows = sweep(
        grid.runs(),
        out / "runs",
        jobs=jobs,
        data_dir=data_dir,
        checkpoint_seconds=checkpoint_seconds,
        progress=progress,
    )
    return write_comparison(grid, out, rows)


def write_comparison(grid: Grid, out: Path, rows: Sequence[Mapping[str, Any]]) -> Comparison:
    """Write tables and figures of a grid's `rows` into `out`; runs that are not finished are left out of both."""
    write_results(out / "results.csv", rows)
    summary = summarize(read_results(out / "results.csv"))
    write_summary(out / "summary.csv", summary)
    finished = [run for run in grid.runs() if is_finished(out / "runs" / run.name)]
    figures = draw_figures(finished, out)
    tables = (out / "results.csv", out / "summary.csv", out / "config.toml")
    return Comparison(render_table(summary), (*tables, *figures))


def claim(out: Path, grid: Grid) -> None:
    """Write the grid into its folder, unless there is work with other settings in it.

    Raises:
        InputError: there is, or one of its runs cannot be.
    """
    path = out / "config.toml"
    if path.exists() and any(is_begun(folder) for folder in (out / "runs").glob("*")):
        require_same(out, grid.common(), Grid.load(path).common())
    for run in grid.runs():
        require_feasible(run, out / "runs")
    remove_leftovers(out, older_than_s=HOUR_S)  # younger ones may be another process's
    grid.save(path)


def draw_figures(runs: Sequence[RunConfig], out: Path) -> list[Path]:
    """Reliability diagram and entropy histogram of each family and quantized part, methods side by side.

    Drawn from the first seed's predictions; returns the files written.
    """
    from tsnn_uq.plots import entropy_histogram, reliability_diagram, save_figure

    files: list[Path] = []
    first = [run for run in runs if run.seed == 0]
    for family in dict.fromkeys(run.family for run in first):
        for part in dict.fromkeys(run.quantized_part for run in first if run.method != "float") or ["none"]:
            predictions = read_comparison(out, family, part)
            means = {method: (probs.mean(0), labels) for method, (probs, labels) in predictions.items()}
            name = family if part in ("none", "all") else f"{family}-{part}"
            files += save_figure(reliability_diagram(means), out / f"reliability-{name}")
            files += save_figure(entropy_histogram(predictions), out / f"entropy-{name}")
    return files


def run_folder(out: Path, family: str, part: str, method: str, seed: int) -> Path:
    """Where a comparison keeps a run; a float one stands under no quantized part."""
    return out / "runs" / run_name(family, "none" if method == "float" else part, method, seed)


def read_comparison(out: Path, family: str, part: str = "all", seed: int = 0) -> dict[str, tuple[Tensor, Tensor]]:
    """Predictions of a comparison's methods, side by side.

    Args:
        out: folder that `compare` wrote.
        family: network family.
        part: quantized part of the ternary networks.
        seed: seed of the runs.

    Returns:
        For each method that was run, Monte Carlo probabilities [S, N, C] of the test set and labels [N].

    Raises:
        InputError: no such run in the folder.
    """
    folders = {method: run_folder(out, family, part, method, seed) for method in METHODS}
    found = {method: folder for method, folder in folders.items() if (folder / "result.json").exists()}
    if not found:
        raise InputError(f"{out}: expected finished runs of {family}, part {part}, seed {seed}; got none")
    return {method: read_predictions(folder) for method, folder in found.items()}
