"""The command that does all runs behind the paper's table."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tsnn_uq.cli.main import CORES, TRAIN, app, console, quote, say_how_long, say_next, show_comparison
from tsnn_uq.cli.options import CheckpointSeconds, DataDir, DryRun, Jobs, Log, RunDevice, names, with_examples
from tsnn_uq.files import require_writable

__all__ = ["reproduce"]


@app.command(
    rich_help_panel=TRAIN,
    **with_examples("tsnn-uq reproduce --out table --dry-run", "tsnn-uq reproduce --out table --budget quick"),
)
def reproduce(
    *,
    out: Annotated[Path, typer.Option(help="Folder for the tables and, below it, all comparisons.")],
    data: Annotated[
        str, typer.Option(help="Data sets, with commas; a family takes the first of its kind, images or events.")
    ] = "mnist,nmnist",
    seeds: Annotated[int, typer.Option(help="Seeds 0, 1, ... of each row.")] = 3,
    regularizers: Annotated[
        str, typer.Option(help="Uncertainty terms, with commas; a table for each: none,variance:5+outliers:0.5.")
    ] = "none",
    budget: Annotated[
        str, typer.Option(help="full; or quick: small networks on subsets, minutes to see that everything works.")
    ] = "full",
    backend: Annotated[str, typer.Option(help="Workers: processes, or a cluster of dask or ray.")] = "processes",
    address: Annotated[str, typer.Option(help="Of the cluster; else one of --jobs workers is started here.")] = "",
    jobs: Jobs = CORES,
    dry_run: DryRun = False,
    device: RunDevice = "cpu",
    log: Log = "",
    data_dir: DataDir = None,
    checkpoint_seconds: CheckpointSeconds = 20.0,
) -> None:
    """Do all sixteen rows of the paper's table, by seeds and by regularizers.

    Says beforehand how long it will take. Writes results.csv (a row a run), summary.csv and table.csv, which has the
    paper's layout, into --out. If it is interrupted, the same command resumes it; called twice at a time on one folder,
    both share the work. Runs that fail are tried once more, then listed, and the exit code is 1.
    """
    from tsnn_uq.cli.progress import RunBars  # late: it takes a tenth of a second to import
    from tsnn_uq.experiments import Context
    from tsnn_uq.experiments.comparison import do_plan
    from tsnn_uq.experiments.estimate import describe_estimate, estimate_runs
    from tsnn_uq.experiments.plan import plan_reproduction
    from tsnn_uq.experiments.runner import open_pool

    plan = plan_reproduction(
        out,
        data=names(data),
        seeds=seeds,
        regularizers=names(regularizers),
        budget=budget,
        device=device,
        data_dir=data_dir,
    )
    if dry_run:
        return say_how_long(plan.tasks(), Context(data_dir, jobs))
    require_writable(out)
    with open_pool(backend, jobs=jobs, address=address) as pool:
        with RunBars(console, train_share=0, title="timing") as bars:
            left = estimate_runs(plan.tasks(), Context(data_dir, progress=bars))
        console.print(describe_estimate(left, pool.jobs), highlight=False)
        with RunBars(console, runs=sum(kind.runs for kind in left)) as bars:
            made = do_plan(plan, Context(data_dir, jobs, checkpoint_seconds, bars, logs=names(log)), pool=pool)
    show_comparison(made)
    say_next(f"tsnn-uq report {quote(out)} --out {quote(out.with_suffix('.html'))}")
    if made.failures:
        from rich.table import Table

        failed = Table("run", "error", title=f"{len(made.failures)} failed; the same command tries them again")
        for name, error in made.failures:
            failed.add_row(name, str(error) or type(error).__name__)
        console.print(failed)
        raise typer.Exit(1)
