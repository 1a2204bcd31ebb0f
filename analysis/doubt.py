"""Whether float and ternary networks doubt where people doubt, on CIFAR-10's test images."""

from __future__ import annotations

from typing import Annotated

import typer

from tsnn_uq.checks import InputError
from tsnn_uq.cli.main import run_command
from tsnn_uq.cli.scripts import Drawing, figure_script
from tsnn_uq.data import human_answers
from tsnn_uq.results.figures import doubt_figure
from tsnn_uq.results.studies import Runs, doubts


@figure_script("doubt")
def main(
    runs: Runs,
    resamples: Annotated[int, typer.Option(help="Bootstrap resamples of the inputs, for the intervals.")] = 1000,
) -> Drawing:
    """Draw how networks' entropy follows that of people's answers (CIFAR-10H), and the correlations."""
    if runs.data != "cifar10":
        raise InputError(f"data: expected runs on cifar10, whose test images people answered; got {runs.data}")
    predictions, counts = runs.predictions(), human_answers(runs.data_dir)
    table = doubts(predictions, counts, resamples=resamples, seed=runs.seed)
    return doubt_figure(table), table


if __name__ == "__main__":
    run_command(main)
