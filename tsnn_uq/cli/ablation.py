"""The commands that show what uncertainty terms do: a screening of all, and finals of the best."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from tsnn_uq.cli.main import CORES, TRAIN, app, console, quote, say_how_long, say_next
from tsnn_uq.cli.options import DataDir, DryRun, Jobs, RunDevice, names, with_examples

__all__ = ["ablation"]

ablation = typer.Typer(
    help="What uncertainty terms in the loss do: a screening of all, and finals of the best.",
    **with_examples("tsnn-uq ablation screening --out ablation --dry-run"),
)
app.add_typer(ablation, name="ablation", rich_help_panel=TRAIN)

Out = Annotated[Path, typer.Option(help="Folder for the table and, below it, all runs.")]
Seeds = Annotated[int, typer.Option(help="Seeds 0, 1, ... of each.")]


@ablation.command("screening", **with_examples("tsnn-uq ablation screening --out ablation --jobs 8"))
def screen(
    *,
    out: Out,
    methods: Annotated[str, typer.Option(help="Ternary methods, with commas.")] = "direct,distill",
    seeds: Seeds = 3,
    device: RunDevice = "cpu",
    data_dir: DataDir = None,
    jobs: Jobs = CORES,
    dry_run: DryRun = False,
) -> None:
    """Train with every term at four weights, on 10,000 images of MNIST; then the chosen weights with all seeds.

    Weights are chosen on the validation split. Writes screening.csv into --out. If it is interrupted, the
    same command resumes it.
    """
    from tsnn_uq.cli.progress import RunBars
    from tsnn_uq.experiments import Context
    from tsnn_uq.experiments.ablation import SCREENING, Stage, chosen_weights, screening, screening_runs

    stage, context = Stage(out, seeds, SCREENING | {"device": device}), Context(data_dir, jobs)
    tasks = screening_runs(stage, names(methods))
    if dry_run:
        return say_how_long(tasks, context)
    with RunBars(console, len(tasks), last="measure") as bars:
        rows = screening(stage, methods=names(methods), context=replace(context, progress=bars))
    console.print(chosen_weights(rows).to_string(index=False), highlight=False)
    _say_written(out / "screening.csv", f"tsnn-uq ablation finals --screening {quote(out / 'screening.csv')} --out ...")


@ablation.command("finals", **with_examples("tsnn-uq ablation finals --screening ablation/screening.csv --out finals"))
def compete(
    *,
    out: Out,
    terms: Annotated[str, typer.Option(help="Terms with weights, the best first, with commas: variance:5,...")] = "",
    screening: Annotated[
        Path | None, typer.Option(help="The screening.csv that chooses two terms where none are given.")
    ] = None,
    families: Annotated[str, typer.Option(help="Network families, with commas.")] = "dropout,dropconnect",
    seeds: Seeds = 3,
    device: RunDevice = "cpu",
    data_dir: DataDir = None,
    jobs: Jobs = CORES,
    dry_run: DryRun = False,
) -> None:
    """Train with the best terms and without, ternary and float, on all of MNIST.

    Writes finals.csv into --out. If it is interrupted, the same command resumes it.
    """
    from tsnn_uq.cli.progress import RunBars
    from tsnn_uq.experiments import Context
    from tsnn_uq.experiments.ablation import FINALS, Stage, finalists, finals, finals_runs

    texts = finalists(names(terms), screening)
    console.print(f"terms: {', '.join(texts)}", highlight=False)
    stage, context = Stage(out, seeds, FINALS | {"device": device}), Context(data_dir, jobs)
    tasks = finals_runs(stage, texts, names(families))
    if dry_run:
        return say_how_long(tasks, context)
    with RunBars(console, len(tasks), last="measure") as bars:
        finals(stage, texts, families=names(families), context=replace(context, progress=bars))
    _say_written(out / "finals.csv", f"tsnn-uq ablation posteriors --out {quote(out)}")


@ablation.command("posteriors", **with_examples("tsnn-uq ablation posteriors --out finals"))
def infer(
    *,
    out: Annotated[Path, typer.Option(help="Folder of the finals.")],
    seeds: Seeds = 3,
    device: RunDevice = "cpu",
    data_dir: DataDir = None,
    jobs: Jobs = CORES,
    dry_run: DryRun = False,
) -> None:
    """Infer posteriors from the finals' networks without a term, and make ensembles of them.

    Writes posteriors.csv into --out. If it is interrupted, the same command resumes it.
    """
    from tsnn_uq.cli.progress import RunBars
    from tsnn_uq.experiments import Context
    from tsnn_uq.experiments.ablation import FINALS, Stage, count_posteriors, posteriors, posteriors_runs

    stage, context = Stage(out, seeds, FINALS | {"device": device}), Context(data_dir, jobs)
    tasks = posteriors_runs(stage)
    if dry_run:
        return say_how_long(tasks, context, ", and then posteriors of their weights, which are not timed")
    with RunBars(console, len(tasks) + count_posteriors(stage), last="measure") as bars:
        posteriors(stage, context=replace(context, progress=bars))
    _say_written(out / "posteriors.csv", f"python analysis/regularizers.py {quote(out / 'finals.csv')}")


def _say_written(path: Path, after: str) -> None:
    console.print(f"wrote {path}", highlight=False, soft_wrap=True)
    say_next(after)
