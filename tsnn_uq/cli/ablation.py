"""The commands that show what uncertainty terms do: a screening of all, and finals of the best."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tsnn_uq.cli.main import CORES, TRAIN, app, console, print_json, quote, say_how_long, say_next
from tsnn_uq.cli.options import DataDir, DryRun, Jobs, RunDevice, follow_names, names, numbers, with_examples

if TYPE_CHECKING:
    from tsnn_uq.experiments.ablation import Stage

__all__ = ["ablation"]

ablation = typer.Typer(
    help="What uncertainty terms in the loss do: a screening of all, finals of the best, and a choice by several data "
    "sets.",
    **with_examples("tsnn-uq ablation screening --out ablation --dry-run"),
)
app.add_typer(ablation, name="ablation", rich_help_panel=TRAIN)

Out = Annotated[Path, typer.Option(help="Folder for the table and, below it, all runs.")]
Seeds = Annotated[int, typer.Option(help="Seeds 0, 1, ... of each.")]
Data = Annotated[str, typer.Option(help="Data set: mnist, fashion-mnist, cifar10, digits.")]
Epochs = Annotated[
    int, typer.Option(min=0, help="Passes over the training set; 0 for the usual number.", show_default=False)
]
Network = Annotated[str, typer.Option(help="Network family, or FILE.py:name.", show_default="dropout; vgg for cifar10")]


@ablation.command(
    "screening",
    **with_examples(
        "tsnn-uq ablation screening --out ablation --jobs 8",
        "tsnn-uq ablation screening --data fashion-mnist --methods direct --terms consistency,variance:2 --out fashion",
    ),
)
def screen(
    *,
    out: Out,
    data: Data = "mnist",
    network: Network = "",
    terms: Annotated[
        str,
        typer.Option(
            help="Terms, with commas: by name with their usual weights, or with weights of yours, such as "
            "consistency+information,variance:2,variance:8; by default all.",
        ),
    ] = "",
    methods: Annotated[str, typer.Option(help="Ternary methods, with commas.")] = "direct,distill",
    seeds: Seeds = 3,
    device: RunDevice = "cpu",
    data_dir: DataDir = None,
    jobs: Jobs = CORES,
    dry_run: DryRun = False,
) -> None:
    """Train with every term at four weights, on 10,000 images; then the chosen weights with all seeds.

    Weights are chosen on the validation split. Writes screening.csv into --out. If it is interrupted, the
    same command resumes it.
    """
    from tsnn_uq.cli.progress import RunBars
    from tsnn_uq.experiments import Context
    from tsnn_uq.experiments.ablation import SCREENING, chosen_terms, chosen_weights, screening, screening_runs

    stage = replace(_stage(out, seeds, SCREENING, data, network, device), terms=chosen_terms(names(terms)))
    context = Context(data_dir, jobs)
    tasks = screening_runs(stage, names(methods))
    if dry_run:
        return say_how_long(tasks, context)
    with RunBars(console, len(tasks), last="measure") as bars:
        rows = screening(stage, methods=names(methods), context=replace(context, progress=bars))
    console.print(chosen_weights(rows).to_string(index=False), highlight=False)
    table = out / "screening.csv"
    _say_written(table, f"tsnn-uq ablation finals{_on(data)} --screening {quote(table)} --out ...")


@ablation.command("finals", **with_examples("tsnn-uq ablation finals --screening ablation/screening.csv --out finals"))
def compete(
    *,
    out: Out,
    data: Data = "mnist",
    terms: Annotated[str, typer.Option(help="Terms with weights, the best first, with commas: variance:5,...")] = "",
    screening: Annotated[
        list[Path] | None,
        typer.Option(
            help="The screening.csv that chooses two terms where none are given; several times for the best on several "
            "data sets.",
            show_default=False,
        ),
    ] = None,
    families: Annotated[
        str,
        typer.Option(
            "--network",
            "--families",
            help="Network families, with commas, or FILE.py:name.",
            show_default="dropout,dropconnect; vgg for cifar10",
        ),
    ] = "",
    methods: Annotated[
        str, typer.Option(help="Training methods, with commas; float networks get the first term alone.")
    ] = "direct,float",
    seeds: Seeds = 3,
    epochs: Epochs = 0,
    device: RunDevice = "cpu",
    data_dir: DataDir = None,
    jobs: Jobs = CORES,
    dry_run: DryRun = False,
) -> None:
    """Train with the best terms and without on all data.

    Writes finals.csv into --out. If it is interrupted, the same command resumes it.
    """
    from tsnn_uq.cli.progress import RunBars
    from tsnn_uq.experiments import Context
    from tsnn_uq.experiments.ablation import FINALS, finalists, finals, finals_runs

    texts, networks = finalists(names(terms), screening or ()), names(follow_names("network", families))
    console.print(f"terms: {', '.join(texts)}", highlight=False)
    stage, context = _stage(out, seeds, FINALS, data, "", device, epochs), Context(data_dir, jobs)
    kinds = names(methods)
    tasks = finals_runs(stage, texts, networks, kinds)
    if dry_run:
        return say_how_long(tasks, context)
    with RunBars(console, len(tasks), last="measure") as bars:
        finals(stage, texts, families=networks, methods=kinds, context=replace(context, progress=bars))
    _say_written(out / "finals.csv", f"tsnn-uq ablation posteriors{_on(data)} --out {quote(out)}")


@ablation.command("posteriors", **with_examples("tsnn-uq ablation posteriors --out finals"))
def infer(
    *,
    out: Annotated[Path, typer.Option(help="Folder of the finals.")],
    data: Data = "mnist",
    network: Network = "",
    noises: Annotated[
        str, typer.Option(help="How ternary posteriors are trained, with commas: auto, exact, flipout, weights.")
    ] = "auto",
    members: Annotated[int, typer.Option(help="Networks in an ensemble; 0 for no ensembles.")] = 5,
    temperatures: Annotated[
        str,
        typer.Option(
            help="Temperatures, with commas, of which the validation split chooses one for ternary posteriors; by "
            "default five from 0.003 to 1.",
        ),
    ] = "",
    seeds: Seeds = 3,
    epochs: Epochs = 0,
    device: RunDevice = "cpu",
    data_dir: DataDir = None,
    jobs: Jobs = CORES,
    dry_run: DryRun = False,
) -> None:
    """Infer posteriors from the finals' networks without a term, and make ensembles of them.

    Writes posteriors.csv into --out, or posteriors-NETWORK.csv for another network than by default. If it is
    interrupted, the same command resumes it.
    """
    from tsnn_uq.cli.progress import RunBars
    from tsnn_uq.experiments import Context
    from tsnn_uq.experiments.ablation import (
        FINALS,
        TEMPERATURES,
        count_posteriors,
        posteriors,
        posteriors_folder,
        posteriors_runs,
    )

    heats, kinds = numbers("temperatures", temperatures) or TEMPERATURES, names(noises)
    stage, context = _stage(out, seeds, FINALS, data, network, device, epochs), Context(data_dir, jobs)
    tasks = posteriors_runs(stage, members)
    if dry_run:
        return say_how_long(tasks, context, ", and then posteriors of their weights, which are not timed")
    with RunBars(console, len(tasks) + count_posteriors(stage, kinds, heats), last="measure") as bars:
        posteriors(stage, temperatures=heats, noises=kinds, members=members, context=replace(context, progress=bars))
    table = posteriors_folder(stage).with_suffix(".csv")
    _say_written(table, f"python analysis/regularizers.py {quote(out / 'finals.csv')}")


@ablation.command(
    "choose", **with_examples("tsnn-uq ablation choose mnist/finals.csv fashion/finals.csv cifar10/finals.csv")
)
def choose(
    tables: Annotated[
        list[Path], typer.Argument(metavar="TABLE...", help="screening.csv or finals.csv of each data set or network.")
    ],
    *,
    method: Annotated[str, typer.Option(help="Training method.")] = "direct",
) -> None:
    """Rank the terms by what they gain on several data sets, and say where they lose.

    The gain is the share by which the variance of right predictions falls, on the validation split. A term must keep
    the accuracy and the ranking of errors on each data set.
    """
    from tsnn_uq.experiments.ablation import chosen_everywhere, read_stage

    ranked = chosen_everywhere(*map(read_stage, tables), method=method)
    print_json(ranked.astype(object).where(ranked.notna(), None).to_dict("records"))
    shown = ranked.drop(columns="term").to_string(index=False, float_format="{:.3f}".format, max_colwidth=None)
    console.print(shown, highlight=False, soft_wrap=True)


def _stage(
    out: Path, seeds: int, settings: dict[str, Any], data: str, network: str, device: str, epochs: int = 0
) -> Stage:
    from tsnn_uq.experiments.ablation import Stage, suited

    settings = suited(settings, data) | {"device": device} | ({"epochs": epochs} if epochs else {})
    return Stage(out, seeds, settings, data=data, network=follow_names("network", network))


def _on(data: str) -> str:
    """The option that names a data set, as a word for the next command."""
    return f" --data {data}" if data != "mnist" else ""


def _say_written(path: Path, after: str) -> None:
    console.print(f"wrote {path}", highlight=False, soft_wrap=True)
    say_next(after)
