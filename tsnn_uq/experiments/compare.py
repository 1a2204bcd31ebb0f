"""The main job: a grid of runs, its tables and its figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.table import Table

from tsnn_uq.checks import InputError
from tsnn_uq.experiments.config import Grid, RunConfig, preset
from tsnn_uq.experiments.run import read_predictions
from tsnn_uq.experiments.sweep import RunProgress, sweep, waves
from tsnn_uq.experiments.tables import read_results, render_table, summarize, write_csv, write_results

__all__ = ["Comparison", "compare", "count_runs", "draw_figures", "make_grid"]


@dataclass(frozen=True)
class Comparison:
    """What `compare` made: the table to look at, and the files."""

    table: Table
    files: tuple[Path, ...]


def make_grid(
    config: Path | None,
    *,
    data: str | None,
    families: Sequence[str],
    parts: Sequence[str],
    methods: Sequence[str],
    seeds: int | None,
    settings: dict[str, Any],
) -> Grid:
    """A grid from a file or the data set's preset, with what was given put over it; empty means not given."""
    if config is None:
        grid = Grid(run=RunConfig(**preset(data or "digits")))
    else:
        grid = Grid.load(config)
        if data and data != grid.run.data:
            settings = preset(data) | settings
    axes = {"families": tuple(families), "parts": tuple(parts), "methods": tuple(methods), "seeds": seeds}
    given = {name: value for name, value in axes.items() if value not in ((), None)}
    return replace(grid, **given, run=replace(grid.run, **settings))  # type: ignore[arg-type]


def count_runs(grid: Grid) -> int:
    """Runs to do, the teachers of distilled runs among them."""
    return sum(len(wave) for wave in waves(grid.runs()))


def compare(
    grid: Grid, out: Path, *, jobs: int = 1, data_dir: Path | None = None, progress: RunProgress | None = None
) -> Comparison:
    """Do all runs of a grid; write its table, summary, figures and configuration into `out`.

    Args:
        grid: what to compare.
        out: the folder; runs lie in its subfolder ``runs``. Finished ones are not done again.
        jobs: runs done side by side.
        data_dir: where the data lie.
        progress: told what each run does.

    Raises:
        InputError: `out` holds a comparison with other settings, or what a run raises.
    """
    runs = grid.runs()
    grid.save(out / "config.toml")
    rows = sweep(runs, out / "runs", jobs=jobs, data_dir=data_dir, progress=progress)
    write_results(out / "results.csv", rows)
    summary = summarize(read_results(out / "results.csv"))
    write_csv(out / "summary.csv", summary)
    figures = draw_figures(runs, out)
    tables = (out / "results.csv", out / "summary.csv", out / "config.toml")
    return Comparison(render_table(summary), (*tables, *figures))


def draw_figures(runs: Sequence[RunConfig], out: Path) -> list[Path]:
    """Reliability diagram and entropy histogram of each family and quantized part, methods side by side.

    Drawn from the first seed's predictions; returns the files written.
    """
    from tsnn_uq.plots import entropy_histogram, reliability_diagram, save_figure

    files: list[Path] = []
    first = [run for run in runs if run.seed == 0]
    for family in dict.fromkeys(run.family for run in first):
        for part in dict.fromkeys(run.quantized_part for run in first if run.method != "float") or ["none"]:
            chosen = [run for run in first if run.family == family and run.quantized_part in ("none", part)]
            predictions = {run.method: read_predictions(out / "runs" / run.name) for run in chosen}
            if not predictions:
                raise InputError("runs: expected at least one with seed 0; got none")
            means = {method: (probs.mean(0), labels) for method, (probs, labels) in predictions.items()}
            name = family if part in ("none", "all") else f"{family}-{part}"
            files += save_figure(reliability_diagram(means), out / f"reliability-{name}")
            files += save_figure(entropy_histogram(predictions), out / f"entropy-{name}")
    return files
