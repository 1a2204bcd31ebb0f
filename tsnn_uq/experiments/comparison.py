"""Do all runs of a plan, and write the tables and figures of their results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from tsnn_uq import data as datasets
from tsnn_uq.checks import InputError
from tsnn_uq.experiments.plan import REPRODUCTION, Grid, Part, Plan, plan_comparison
from tsnn_uq.experiments.runner import HOUR_S, Failure, Pool, Row, Task, do_runs
from tsnn_uq.experiments.settings import Context, Settings, run_name
from tsnn_uq.experiments.storage import is_begun, read_predictions, require_same
from tsnn_uq.files import remove_leftovers, write_toml
from tsnn_uq.results.paper_table import paper_table
from tsnn_uq.results.tables import read_results, render_table, summarize, write_results, write_summary

if TYPE_CHECKING:
    from pandas import DataFrame
    from rich.table import Table

__all__ = ["Comparison", "claim", "compare", "do_plan", "draw_figures", "require_comparable", "write_posterior"]


@dataclass(frozen=True)
class Comparison:
    """The results of comparisons: rows, tables to display, files written, and the runs that failed."""

    rows: tuple[Row, ...]
    tables: tuple[Table, ...]
    files: tuple[Path, ...]
    failures: tuple[Failure, ...] = ()


def compare(grids: Grid | Sequence[Grid], out: str | Path, context: Context = Context()) -> Comparison:
    """Do all runs of grids, and write tables, figures and configuration to `out`.

    A later call may add seeds, methods, families or parts to a grid in its folder; the settings of its runs must not
    change. Each of several grids has its own folder, and `out` gets the tables of all: ``results.csv``,
    ``summary.csv``, and ``table.csv`` in the layout of the paper's table.

    Args:
        grids: what to compare.
        out: the folder; runs are in its subfolder ``runs``. Finished runs are skipped.
        context: where and how runs are done.

    Returns:
        The table and the paths of the files.

    Raises:
        InputError: `out` has a comparison with other settings, or a run failed; the error is raised after all other
            runs.
    """
    made = do_plan(plan_comparison([grids] if isinstance(grids, Grid) else grids, out), context)
    for failure in made.failures:
        raise failure.error
    return made


def do_plan(plan: Plan, context: Context = Context(), *, pool: Pool | None = None) -> Comparison:
    """Do all runs of a plan, and write the tables and figures of those that succeeded.

    A failed run of a reproduction is tried once more. ``reproduce.toml`` describes what is reproduced.

    Args:
        plan: what to do.
        context: where and how runs are done.
        pool: the workers; by default ``context.jobs`` processes.

    Raises:
        InputError: a run is not feasible, or a folder has other settings; nothing was done in this case.
    """
    if plan.budget:
        # Workers may have another default folder.
        context = replace(context, data_dir=datasets.data_folder(context.data_dir).resolve())
        for name in plan.fixed()["data"]:
            if name != "nmnist":  # never downloaded, and slow to read in full
                datasets.prepare(name, context.data_dir)

    def begin() -> None:
        claim(plan.parts)
        if plan.budget:
            write_toml(plan.out / REPRODUCTION, plan.fixed() | {"regularizers": list(plan.groups)})

    results = do_runs(plan.tasks(), context, pool=pool, retry=bool(plan.budget), begin=begin)
    failures = tuple(result for result in results.values() if isinstance(result, Failure))
    rows = {task: result | plan.columns for task, result in results.items() if isinstance(result, dict)}
    return replace(_write_tables(plan, rows), failures=failures)


def claim(parts: Sequence[Part]) -> None:
    """Write the configuration of grids to their folders, unless a folder has results with other settings.

    Raises:
        InputError: a folder has results with other settings.
    """
    for part in parts:
        path = part.folder / "config.toml"
        if path.exists() and any(is_begun(folder) for folder in (part.folder / "runs").glob("*")):
            require_same(part.folder, part.grid.common(), Grid.load(path).common())
    for part in parts:
        remove_leftovers(part.folder, older_than_s=HOUR_S)  # another process may be writing younger ones
        part.grid.save(part.folder / "config.toml")


def _write_tables(plan: Plan, rows: Mapping[Task, Row]) -> Comparison:
    """Write tables and figures of each part to its folder, and the tables of all parts to the folder of the plan.

    Args:
        plan: the plan.
        rows: rows of the runs that succeeded; others are left out.
    """
    import pandas as pd

    files: list[Path] = []
    done: dict[str, list[Row]] = {}
    for regularizer, part in ((name, part) for name, parts in plan.groups.items() for part in parts):
        if own := {task: rows[task] for task in part.tasks() if task in rows}:
            done.setdefault(regularizer, []).extend(own.values())
            files += _write_part(part, own)
    summaries = {regularizer: summarize(own) for regularizer, own in done.items()}
    if done and not any(part.folder == plan.out for part in plan.parts):  # the folder of a single part has them already
        all_files = [plan.out / name for name in ("results.csv", "summary.csv", "table.csv")]
        names = {regularizer: {"regularizer": regularizer} if regularizer else {} for regularizer in done}
        summary = [_with_columns(one, names[regularizer]) for regularizer, one in summaries.items()]
        layout = [_with_columns(paper_table(one), plan.columns | names[name]) for name, one in summaries.items()]
        write_results(all_files[0], [row for own in done.values() for row in own])
        write_summary(all_files[1], pd.concat(summary))
        write_summary(all_files[2], pd.concat(layout))
        files = all_files + files
    tables = {regularizer: render_table(one) for regularizer, one in summaries.items()}
    for regularizer in filter(None, tables):
        note = ": small networks on subsets, to check that everything works" if plan.budget == "quick" else ""
        tables[regularizer].title = f"regularizer {regularizer}, {plan.budget} budget{note}"
    return Comparison(tuple(row for own in done.values() for row in own), tuple(tables.values()), tuple(files))


def _with_columns(frame: DataFrame, columns: Mapping[str, str]) -> DataFrame:
    """A table with additional columns before the others."""
    return frame.assign(**columns)[[*columns, *frame.columns]]


def _write_part(part: Part, rows: Mapping[Task, Row]) -> list[Path]:
    out = part.folder
    write_results(out / "results.csv", [*rows.values()])
    write_summary(out / "summary.csv", summarize([*rows.values()]))
    figures = draw_figures([task.settings for task in rows], out)
    return [out / "results.csv", out / "summary.csv", out / "config.toml", *figures]


def draw_figures(runs: Sequence[Settings], out: Path) -> list[Path]:
    """Draw reliability diagrams and entropy histograms for each family and quantized part, with methods side by side.

    They show the predictions of the first seed. Returns the files written.
    """
    from tsnn_uq.results.figures import (
        describe,
        entropy_histogram,
        entropy_table,
        reliability_diagram,
        reliability_table,
        save_figure,
    )

    files: list[Path] = []
    first = [run for run in runs if run.seed == 0]
    for family in dict.fromkeys(run.family for run in first):
        for part in dict.fromkeys(run.quantized_part for run in first if run.quantized_part != "none") or ["none"]:
            shown = [run for run in first if run.family == family and run.quantized_part in ("none", part)]
            predictions = {run.method.name: read_predictions(out / "runs" / run.name) for run in shown}
            name = run_name(family, *([] if part in ("none", "all") else [part]))
            facts = {"dataset": shown[0].data.name, "family": family, "quantized_part": part, "seed": 0}
            reliability = describe(reliability_table(predictions), **facts)
            entropy = describe(entropy_table(predictions), **facts)
            files += save_figure(reliability_diagram(reliability), out / f"reliability-{name}")
            files += save_figure(entropy_histogram(entropy), out / f"entropy-{name}")
    return files


def require_comparable(grids: Sequence[Grid]) -> None:
    """Raise now if `write_posterior` would fail after all runs.

    Raises:
        InputError: a grid has only one seed, or lacks float or another method.
    """
    for grid in grids:
        if grid.seeds < 2:
            raise InputError(f"seeds: expected at least 2 for a Bayesian comparison; got {grid.seeds}")
        if "float" not in grid.methods or len(grid.methods) < 2:
            wanted = "float and at least one other for a Bayesian comparison"
            raise InputError(f"methods: expected {wanted}; got {', '.join(grid.methods)}")


def write_posterior(out: Path) -> tuple[Path, ...]:
    """Compare the methods in the ``results.csv`` of a folder with float; see `compare_methods`.

    Args:
        out: a folder that `compare` wrote.

    Returns:
        The files written to the folder: ``bayes.csv`` and the figure ``posterior``.

    Raises:
        InputError: rows cannot be compared, or chains did not mix.
    """
    from tsnn_uq.results.bayesian_comparison import compare_methods
    from tsnn_uq.results.figures import describe, posterior_differences, posterior_table, save_figure

    rows = read_results(out / "results.csv")
    posterior = compare_methods(rows, seed=0)
    table = posterior.table()
    write_summary(out / "bayes.csv", table)
    drawn = describe(posterior_table(table, posterior.draws), seeds=rows["seed"].nunique())
    return (out / "bayes.csv", *save_figure(posterior_differences(drawn), out / "posterior"))
