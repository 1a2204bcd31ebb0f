"""The commands; they ask the rooms below for everything and do no arithmetic of their own."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from tsnn_uq import __version__
from tsnn_uq.checks import InputError
from tsnn_uq.cli.options import CheckpointSeconds, DataDir, Jobs, names, with_run_options
from tsnn_uq.cli.output import OutputConsole, accept_any_text
from tsnn_uq.cli.progress import RunBars
from tsnn_uq.files import require_writable

__all__ = ["CORES", "app", "console", "main", "print_values", "run_command"]

app = typer.Typer(
    name="tsnn-uq",
    help="How far can you trust a ternary spiking network? Train float and ternary ones, measure how sure they are.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
CORES = os.cpu_count() or 1
INTERRUPTED = 130  # 128 + the signal's number, as shells have it
# A pipe has no width: give tables room instead of folding them at 80 columns.
console = OutputConsole(width=None if sys.stdout.isatty() else 140)


def main() -> None:
    """Run the command line; bad input is one line on standard error and exit code 2, Ctrl-C exit code 130."""
    _guard(app)


def run_command(command: Callable[..., None]) -> None:
    """Make one function a command of its own, with the same manners as `main`."""
    single = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    single.command()(command)
    _guard(single)


def _guard(command: typer.Typer) -> None:
    accept_any_text()
    try:
        command()
    except InputError as error:
        print(f"tsnn-uq: {error}", file=sys.stderr)
        sys.exit(2)
    except (KeyboardInterrupt, SystemExit) as stop:
        if isinstance(stop, SystemExit) and stop.code != INTERRUPTED:  # typer makes one of the other
            raise
        print("tsnn-uq: stopped; the same command goes on from here", file=sys.stderr)
        sys.exit(INTERRUPTED)


@app.command()
@with_run_options("data", "family", "method", "quantized_part", "seed")
def compare(
    *,
    out: Annotated[Path, typer.Option(help="Folder for the table, the figures and the runs.")],
    data: Annotated[
        str, typer.Option(help="Data set: digits (built in), mnist, fashion-mnist, nmnist or nmnist-simulated.")
    ] = "",
    family: Annotated[
        str, typer.Option(help="Network families, with commas: dropout, dropconnect, slayer, plif; or all.")
    ] = "",
    part: Annotated[str, typer.Option(help="Ternary layers, with commas: all, conv, fc.")] = "",
    methods: Annotated[str, typer.Option(help="Methods, with commas: float, direct, indirect, distill.")] = "",
    seeds: Annotated[int | None, typer.Option(help="Seeds 0, 1, ... of each.", show_default="3")] = None,
    bayes: Annotated[
        bool, typer.Option("--bayes", help="Add the Bayesian comparison with float, and its figure.")
    ] = False,
    config: Annotated[Path | None, typer.Option(help="Take what is not given here from this TOML file.")] = None,
    data_dir: DataDir = None,
    jobs: Jobs = CORES,
    checkpoint_seconds: CheckpointSeconds = 20.0,
    settings: dict[str, Any],
) -> None:
    """Train float and ternary networks with several seeds, and compare how sure they are.

    Writes results.csv (a row a run), summary.csv (mean and spread over seeds), config.toml and the figures
    into --out. Families that want settings of their own get folders of their own there, and table.csv has all of them
    in the layout of the paper's table. Killed and called again, it goes on where it was.
    """
    from tsnn_uq.experiments.families import compare_families, count_family_runs, make_grids
    from tsnn_uq.experiments.posterior import require_comparable, write_posterior

    grids = make_grids(
        config,
        data=names(data),
        families=names(family),
        parts=names(part),
        methods=names(methods),
        seeds=seeds,
        settings=settings,
    )
    if bayes:
        require_comparable(grids)
    require_writable(out)
    with RunBars(console, runs=count_family_runs(grids, out)) as bars:
        options: dict[str, Any] = {"jobs": jobs, "data_dir": data_dir, "checkpoint_seconds": checkpoint_seconds}
        results = compare_families(grids, out, progress=bars, **options)
    console.print(results.table)
    for path in (*results.files, *(write_posterior(out) if bayes else ())):
        console.print(f"wrote {path}", highlight=False, soft_wrap=True)


@app.command()
@with_run_options()
def train(
    *,
    out: Annotated[Path, typer.Option(help="Folder in which the run gets a folder of its own.")],
    config: Annotated[Path | None, typer.Option(help="Take what is not given here from this TOML file.")] = None,
    data_dir: DataDir = None,
    checkpoint_seconds: CheckpointSeconds = 20.0,
    settings: dict[str, Any],
) -> None:
    """Train one network and measure how sure it is on its test set.

    Killed and called again, it goes on where it was.
    """
    from tsnn_uq.experiments.config import make_run
    from tsnn_uq.experiments.sweep import count_runs, sweep

    run = make_run(config, settings)
    require_writable(out)
    with RunBars(console, runs=count_runs([run], out)) as bars:
        (row,) = sweep([run], out, data_dir=data_dir, checkpoint_seconds=checkpoint_seconds, progress=bars)
    print_values(f"{out / run.name}", row)


@app.command()
def evaluate(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a trained run.")],
    data: Annotated[
        str,
        typer.Option(help="Data set, also a shifted one (mnist:rotate=30) or a foreign one; else the run's own."),
    ] = "",
    samples: Annotated[int | None, typer.Option(help="Monte Carlo samples S; else the run's own.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the masks; else the run's own.")] = None,
    engine: Annotated[bool, typer.Option("--engine", help="Run it in the ternary engine: the same, sooner.")] = False,
    data_dir: DataDir = None,
) -> None:
    """Measure how sure a trained network is on a data set of choice.

    On another data set than the one it was trained for, labels mean nothing: then it says how well
    uncertainty tells the foreign inputs from the run's own test set.
    """
    from tsnn_uq.experiments.out_of_distribution import evaluate_run

    with RunBars(console, runs=1, train_share=0) as bars:
        progress = partial(bars, folder.name)
        values = evaluate_run(
            folder, data or None, samples=samples, seed=seed, engine=engine, data_dir=data_dir, progress=progress
        )
    print_values(f"{folder}", values)


@app.command("cost")
def cost_command(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a trained run.")],
    samples: Annotated[int, typer.Option(help="Monte Carlo samples S of one prediction.")] = 1,
    accounting: Annotated[
        str, typer.Option(help="layer: each by its own sparsity; paper: all by the network's.")
    ] = "layer",
) -> None:
    """Show what a trained network stores and does for one input, layer by layer.

    FLOPs are those of one time step of one pass, energy is that of all time steps of all passes.
    """
    from tsnn_uq.experiments.cost_table import cost_of_run, render_cost

    console.print(render_cost(*cost_of_run(folder, samples=samples, accounting=accounting)))


@app.command("data")
def data_command(
    name: Annotated[str, typer.Argument(metavar="[NAME]", help="Fetch and verify this data set.")] = "",
    data_dir: DataDir = None,
) -> None:
    """Show which data sets there are and where they lie; with a name, fetch what is missing and verify it."""
    from tsnn_uq import data as datasets

    if name:
        for path in datasets.prepare(name, data_dir):
            console.print(f"verified {path}", highlight=False, soft_wrap=True)
        return
    table = Table("data set", "file", "state", "where", title=f"data folder: {datasets.data_folder(data_dir)}")
    for entry in datasets.overview(data_dir):
        table.add_row(*entry)
    console.print(table)


@app.callback(invoke_without_command=True)
def options(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    """Options of the command itself."""
    if version:
        console.print(__version__, highlight=False)
        raise typer.Exit


def print_values(title: str, values: dict[str, Any]) -> None:
    """Show named values, a row each."""
    table = Table("quantity", "value", title=title)
    for name, value in values.items():
        table.add_row(name, f"{value:.6g}" if isinstance(value, float) else str(value))
    console.print(table)
