"""The commands; they ask the rooms below for everything and do no arithmetic of their own."""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tsnn_uq import __version__
from tsnn_uq.checks import InputError
from tsnn_uq.cli.options import (
    OUTPUT,
    WHAT,
    CheckpointSeconds,
    DataDir,
    Device,
    DryRun,
    Jobs,
    Log,
    Network,
    follow_names,
    given_settings,
    names,
    own_options,
    takes_settings,
    with_examples,
)
from tsnn_uq.cli.text_encoding import OutputConsole, accept_any_text
from tsnn_uq.files import require_writable

if TYPE_CHECKING:  # which needs torch, and so seconds
    from tsnn_uq.experiments import Context
    from tsnn_uq.experiments.comparison import Comparison
    from tsnn_uq.experiments.runner import Task

__all__ = [
    "CORES",
    "TRAIN",
    "USE",
    "app",
    "console",
    "main",
    "print_json",
    "print_values",
    "quote",
    "quote_run",
    "run_command",
    "say_how_long",
    "say_next",
    "show_comparison",
]

app = typer.Typer(
    name="tsnn-uq",
    help="How far can you trust a ternary spiking network? Train float and ternary ones, measure how sure they are.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    **with_examples("tsnn-uq compare --data digits --out digits"),
)
CORES = os.cpu_count() or 1
# Headings of the list of commands.
TRAIN, USE = "Train and compare", "Look at what there is"
INTERRUPTED = 130  # 128 + the signal's number, as shells have it
# A pipe has no width: give tables room instead of folding them at 80 columns.
console = OutputConsole(width=None if sys.stdout.isatty() else 140)


def main() -> None:
    """Run the command line; bad input is one line on standard error and exit code 2, Ctrl-C exit code 130."""
    _guard(partial(app, prog_name="tsnn-uq"))  # also as python -m tsnn_uq, for completion


def run_command(command: Callable[..., None]) -> None:
    """Make one function a command of its own, with the same manners as `main`."""
    single = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    single.command()(command)
    _guard(single)


def _guard(command: Callable[[], object]) -> None:
    accept_any_text()
    try:
        command()
    except InputError as error:
        print(f"tsnn-uq: {error}", file=sys.stderr)
        sys.exit(2)
    except (KeyboardInterrupt, SystemExit) as stop:
        if isinstance(stop, SystemExit) and stop.code != INTERRUPTED:  # typer makes one of the other
            raise
        print("tsnn-uq: stopped; the same command resumes", file=sys.stderr)
        sys.exit(INTERRUPTED)


@app.command(
    rich_help_panel=TRAIN,
    **takes_settings(
        "tsnn-uq compare --data mnist --methods float,direct --seeds 3 --out mnist",
        "tsnn-uq compare --data mine.py:load --network mine.py:build --network.width 32 --out mine --dry-run",
    ),
)
def compare(
    ctx: typer.Context,
    *,
    out: Annotated[Path, typer.Option(help="Folder for the table, the figures and the runs.", rich_help_panel=OUTPUT)],
    data: Annotated[
        str,
        typer.Option(
            help="Data set: digits (built in), another one of those that tsnn-uq data lists, or FILE.py:name.",
            rich_help_panel=WHAT,
        ),
    ] = "",
    network: Annotated[
        str,
        typer.Option(
            "--network",
            "--family",
            help="Networks, with commas: dropout, dropconnect, slayer, plif, vgg, FILE.py:name; all: the paper's four.",
            rich_help_panel=WHAT,
        ),
    ] = "",
    part: Annotated[
        str, typer.Option(help="Ternary layers, with commas: all, inner, conv, fc.", rich_help_panel=WHAT)
    ] = "",
    methods: Annotated[
        str,
        typer.Option(
            help="Methods, with commas: float, direct, indirect, distill; or FILE.py:name.", rich_help_panel=WHAT
        ),
    ] = "",
    seeds: Annotated[
        int | None, typer.Option(help="Seeds 0, 1, ... of each.", show_default="3", rich_help_panel=WHAT)
    ] = None,
    bayes: Annotated[
        bool,
        typer.Option("--bayes", help="Add the Bayesian comparison with float, and its figure.", rich_help_panel=OUTPUT),
    ] = False,
    config: Annotated[
        Path | None, typer.Option(help="TOML file of a comparison, for what is not given here.", rich_help_panel=WHAT)
    ] = None,
    data_dir: DataDir = None,
    jobs: Jobs = CORES,
    dry_run: DryRun = False,
    checkpoint_seconds: CheckpointSeconds = 20.0,
    log: Log = "",
) -> None:
    """Train float and ternary networks with several seeds, and compare how sure they are.

    Writes results.csv (a row a run), summary.csv (mean and spread over seeds), config.toml and the figures into --out.
    Networks that need settings of their own get folders of their own there, and table.csv has all of them in the layout
    of the paper's table. If it is interrupted, the same command resumes it. Every setting of a run is an option, and
    every option of a component: --network.hidden 500,500; --network NAME --help shows which.
    """
    from tsnn_uq.cli.progress import RunBars
    from tsnn_uq.experiments import Context, comparison
    from tsnn_uq.experiments.plan import make_grids, plan_comparison
    from tsnn_uq.experiments.runner import tasks_left

    grids = make_grids(
        given_settings(ctx.args, own_options(ctx), data=data, network=network, method=methods),
        config=config,
        data=names(follow_names("data", data)),
        families=names(follow_names("network", network)),
        parts=names(part),
        methods=names(follow_names("method", methods)),
        seeds=seeds,
    )
    if bayes:
        comparison.require_comparable(grids)
    tasks = plan_comparison(grids, out).tasks()
    if dry_run:
        return say_how_long(tasks, Context(data_dir, jobs))
    require_writable(out)
    with RunBars(console, runs=len(tasks_left(tasks))) as bars:
        made = comparison.compare(grids, out, Context(data_dir, jobs, checkpoint_seconds, bars, logs=names(log)))
    show_comparison(made, comparison.write_posterior(out) if bayes else ())
    say_next(
        f"tsnn-uq report {quote(out)} --out {quote(out.with_suffix('.html'))}",
        f"tsnn-uq evaluate {quote_run(tasks[-1].folder, 'network')} --data ...   # on shifted or foreign inputs",
    )


@app.command(
    rich_help_panel=TRAIN, **takes_settings("tsnn-uq train --data digits --method direct --epochs 10 --out runs")
)
def train(
    ctx: typer.Context,
    *,
    out: Annotated[
        Path, typer.Option(help="Folder in which the run gets a folder of its own.", rich_help_panel=OUTPUT)
    ],
    config: Annotated[
        Path | None, typer.Option(help="TOML file of a run, for what is not given here.", rich_help_panel=WHAT)
    ] = None,
    data_dir: DataDir = None,
    dry_run: DryRun = False,
    checkpoint_seconds: CheckpointSeconds = 20.0,
    log: Log = "",
) -> None:
    """Train one network and measure how sure it is on its test set.

    If it is interrupted, the same command resumes it. Every setting of a run is an option, and every option of a
    component: --network.hidden 500,500; --network NAME --help shows which.
    """
    from tsnn_uq.cli.progress import RunBars
    from tsnn_uq.experiments import Context, make_settings, sweep
    from tsnn_uq.experiments.runner import Task, tasks_left

    settings = make_settings(given_settings(ctx.args, own_options(ctx)), config)
    task = Task(settings, out)
    if dry_run:
        return say_how_long([task], Context(data_dir))
    require_writable(out)
    with RunBars(console, runs=len(tasks_left([task]))) as bars:
        (row,) = sweep([settings], out, Context(data_dir, 1, checkpoint_seconds, bars, logs=names(log)))
    print_values(f"{task.folder}", row)
    typed = quote_run(task.folder, "network")
    say_next(f"tsnn-uq cost {typed}", f"tsnn-uq export {typed} --out network.nir")


@app.command(
    rich_help_panel=USE,
    **with_examples(
        "tsnn-uq evaluate runs/dropout-all-direct-0 --data digits:rotate=30",
        "tsnn-uq evaluate mnist-dropout-direct --data fashion-mnist",
    ),
)
def evaluate(
    folder: Annotated[
        Path, typer.Argument(metavar="RUN", help="Folder of a trained run, name of a shipped one, or FILE.nir.")
    ],
    data: Annotated[
        str,
        typer.Option(
            help="Data set, also shifted (mnist:rotate=30) or corrupted (mnist:fog=3), a foreign one, or FILE.py:name; "
            "else the run's own."
        ),
    ] = "",
    samples: Annotated[int | None, typer.Option(help="Monte Carlo samples S; else the run's own.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the masks; else the run's own.")] = None,
    engine: Annotated[bool, typer.Option("--engine", help="Use the ternary engine: same result, faster.")] = False,
    steps: Annotated[int | None, typer.Option(help="Time steps of FILE.nir; else those it names.")] = None,
    dropout: Annotated[float, typer.Option(help="Put Monte Carlo dropout into FILE.nir with this probability.")] = 0.0,
    network: Network = "",
    device: Device = "",
    data_dir: DataDir = None,
) -> None:
    """Measure how sure a trained network is on any data set.

    On another data set than the one it was trained for, labels mean nothing: then it says how well
    uncertainty tells the foreign inputs from the run's own test set.
    """
    from tsnn_uq.cli.progress import RunBars
    from tsnn_uq.experiments import Context
    from tsnn_uq.experiments.evaluation import evaluate_nir, evaluate_run
    from tsnn_uq.experiments.storage import find_run

    folder = find_run(folder)
    follow_names("network", network)
    name = follow_names("data", data) or None
    measure: Callable[..., dict[str, Any]] = evaluate_run
    if folder.suffix == ".nir":
        measure = partial(evaluate_nir, steps=steps, dropout=dropout)
    elif steps is not None or dropout:
        raise InputError(f"steps, dropout: expected none, since {folder} is a run with its own; got some")
    with RunBars(console, runs=1, train_share=0) as bars:
        context = Context(data_dir, progress=bars, device=device)
        values = measure(folder, name, samples=samples, seed=seed, engine=engine, context=context)
    print_values(f"{folder}", values)
    if folder.suffix == ".nir":
        say_next(f"tsnn-uq evaluate {quote(folder)} --engine")
    else:
        say_next(f"tsnn-uq cost {quote_run(folder, 'network')}")


@app.command("cost", rich_help_panel=USE, **with_examples("tsnn-uq cost runs/dropout-all-direct-0 --samples 32"))
def cost_command(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a trained run, or name of a shipped one.")],
    samples: Annotated[int, typer.Option(help="Monte Carlo samples S of one prediction.")] = 1,
    accounting: Annotated[
        str, typer.Option(help="layer: each by its own sparsity; paper: all by the network's.")
    ] = "layer",
    network: Network = "",
) -> None:
    """Show what a trained network stores and does for one input, layer by layer.

    FLOPs are those of one time step of one pass, energy is that of all time steps of all passes.
    """
    from tsnn_uq.experiments.evaluation import cost_of_run
    from tsnn_uq.experiments.storage import find_run
    from tsnn_uq.results.cost_table import render_cost

    follow_names("network", network)
    console.print(render_cost(*cost_of_run(find_run(folder), samples=samples, accounting=accounting)))
    say_next(f"tsnn-uq evaluate {quote_run(folder, 'network', 'data')}")


@app.command("data", rich_help_panel=USE, **with_examples("tsnn-uq data", "tsnn-uq data mnist"))
def data_command(
    name: Annotated[str, typer.Argument(metavar="[NAME]", help="Fetch and verify this data set.")] = "",
    data_dir: DataDir = None,
) -> None:
    """Show which data sets there are and where they are; with a name, fetch what is missing and verify it."""
    from tsnn_uq import data as datasets
    from tsnn_uq.cli.progress import RunBars
    from tsnn_uq.experiments.inputs import other_sets

    if name:
        with RunBars(console, train_share=0, last="", title=name) as bars:
            paths = datasets.prepare(name, data_dir, progress=partial(bars, name))
        for path in paths:
            console.print(f"verified {path}", highlight=False, soft_wrap=True)
        return
    from rich.table import Table

    table = Table("data set", "file", "state", "where", title=f"data folder: {datasets.data_folder(data_dir)}")
    for entry in datasets.overview(data_dir):
        table.add_row(*entry)
    for one in other_sets():
        table.add_row(one, "", "registered", "")
    console.print(table)


@app.callback(invoke_without_command=True)
def options(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print what was measured as JSON, in the units of results.csv, and no more.")
    ] = False,
) -> None:
    """Options of the command itself."""
    console.quiet, console.as_json = quiet or as_json, as_json
    if version:
        console.print(__version__, highlight=False)
        raise typer.Exit


def quote(path: Path) -> str:
    """A path as one types it into a shell."""
    return shlex.quote(str(path))


def quote_run(folder: Path, *kinds: str) -> str:
    """A run as one types it, with options that name the code of its components of these kinds, if they have any."""
    from tsnn_uq.components.registry import find, is_known
    from tsnn_uq.experiments.storage import find_run, read_config

    config = read_config(find_run(folder))
    code = {kind: find(kind, name).reference if is_known(kind, name := config[kind]) else name for kind in kinds}
    return " ".join([quote(folder), *(f"--{kind} {shlex.quote(of)}" for kind, of in code.items() if of)])


def say_next(*commands: str) -> None:
    """Say what one may want to do after a command."""
    for command in commands:
        console.print(f"next: {command}", highlight=False, markup=False, soft_wrap=True)


def say_how_long(tasks: Sequence[Task], context: Context, more: str = "") -> None:
    """Say how long runs will take, in all and of each kind.

    Args:
        tasks: the runs, of which those that are finished are left out.
        context: where the data are, and how many runs go side by side.
        more: what is to do besides, and was not timed.
    """
    from rich.table import Table

    from tsnn_uq.cli.progress import RunBars
    from tsnn_uq.experiments.estimate import describe_estimate, estimate_runs, format_duration

    with RunBars(console, train_share=0, title="timing") as bars:
        kinds = estimate_runs(tasks, replace(context, progress=bars))
    console.print(f"{describe_estimate(kinds, context.jobs)}{more}", highlight=False, soft_wrap=True)
    print_json(
        {
            "runs": sum(kind.runs for kind in kinds),
            "seconds": sum(kind.runs * kind.seconds for kind in kinds),
            "kinds": [{"runs": runs, "seconds": seconds, **settings.flat()} for settings, runs, seconds in kinds],
        }
    )
    if kinds:
        table = Table("data", "network", "ternary", "method", "regularizer", "runs", "each", "on one core", box=None)
        for run, runs, seconds in kinds:
            names = (run.data.name, run.family, run.quantized_part, run.method.name, run.regularizer.name)
            table.add_row(*names, str(runs), format_duration(seconds), format_duration(runs * seconds))
        console.print(table)


def print_json(values: Any) -> None:
    """Print what was measured as JSON, where the user asks for it."""
    if console.as_json:
        print(json.dumps(values))


def show_comparison(made: Comparison, more: Sequence[Path] = ()) -> None:
    """Show the tables of a comparison and what was written, `more` files among them."""
    for table in made.tables:
        console.print(table)
    for path in (*made.files, *more):
        console.print(f"wrote {path}", highlight=False, soft_wrap=True)
    print_json(made.rows)


def print_values(title: str, values: dict[str, Any]) -> None:
    """Show what was measured, a row each, with its unit."""
    from rich.table import Table

    from tsnn_uq.results.measures import MEASURES

    print_json(values)
    table = Table("quantity", "value", title=title)
    for name, value in values.items():
        kind, _, of = name.partition("_")  # such as scaled_mutual_information, point_accuracy
        measure, label = MEASURES.get(name), name.replace("_", " ")
        if measure:
            label = measure.title
        elif measure := MEASURES.get(of):
            label = f"{kind} {measure.title}"
        if measure and value is not None:
            number = measure.text_in_best_unit(value)
        else:
            number = f"{value:.6g}" if isinstance(value, float) else str(value)
        table.add_row(label, number)
    console.print(table)
