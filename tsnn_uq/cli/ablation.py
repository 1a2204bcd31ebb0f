"""The commands that show what uncertainty terms do: a screening of all, and finals of the best."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tsnn_uq.cli.main import CORES, app, console
from tsnn_uq.cli.options import DataDir, Jobs, RunDevice, names

__all__ = ["ablation"]

ablation = typer.Typer(help="What uncertainty terms in the loss do: a screening of all, and finals of the best.")
app.add_typer(ablation, name="ablation")

Out = Annotated[Path, typer.Option(help="Folder for the table and, below it, all runs.")]
Seeds = Annotated[int, typer.Option(help="Seeds 0, 1, ... of each.")]


@ablation.command("screening")
def screen(
    *,
    out: Out,
    methods: Annotated[str, typer.Option(help="Ternary methods, with commas.")] = "direct,distill",
    seeds: Seeds = 3,
    device: RunDevice = "cpu",
    data_dir: DataDir = None,
    jobs: Jobs = CORES,
) -> None:
    """Train with every term at four weights, on 10,000 images of MNIST; then the chosen weights with all seeds.

    Weights are chosen on the validation split. Writes screening.csv into --out. Killed and called again, it resumes.
    """
    from tsnn_uq.experiments import Context
    from tsnn_uq.experiments.ablation import SCREENING, Plan, chosen_weights, screening

    rows = screening(
        Plan(out, seeds, SCREENING | {"device": device}),
        methods=names(methods),
        context=Context(data_dir, jobs, progress=_say),
    )
    console.print(chosen_weights(rows).to_string(index=False), highlight=False)
    console.print(f"wrote {out / 'screening.csv'}", highlight=False, soft_wrap=True)


@ablation.command("finals")
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
) -> None:
    """Train with the best terms and without, ternary and float, on all of MNIST.

    Writes finals.csv into --out. Killed and called again, it resumes.
    """
    from tsnn_uq.experiments import Context
    from tsnn_uq.experiments.ablation import FINALS, Plan, finalists, finals

    texts = finalists(names(terms), screening)
    console.print(f"terms: {', '.join(texts)}", highlight=False)
    finals(
        Plan(out, seeds, FINALS | {"device": device}),
        texts,
        families=names(families),
        context=Context(data_dir, jobs, progress=_say),
    )
    console.print(f"wrote {out / 'finals.csv'}", highlight=False, soft_wrap=True)


@ablation.command("posteriors")
def infer(
    *,
    out: Annotated[Path, typer.Option(help="Folder of the finals.")],
    seeds: Seeds = 3,
    device: RunDevice = "cpu",
    data_dir: DataDir = None,
    jobs: Jobs = CORES,
) -> None:
    """Infer posteriors from the finals' networks without a term, and make ensembles of them.

    Writes posteriors.csv into --out. Killed and called again, it resumes.
    """
    from tsnn_uq.experiments import Context
    from tsnn_uq.experiments.ablation import FINALS, Plan, posteriors

    posteriors(Plan(out, seeds, FINALS | {"device": device}), context=Context(data_dir, jobs, progress=_say))
    console.print(f"wrote {out / 'posteriors.csv'}", highlight=False, soft_wrap=True)


def _say(name: str, stage: str, done: int, total: int) -> None:
    console.print(f"{done}/{total} {name}", highlight=False)
