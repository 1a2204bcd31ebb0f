"""Uncertainty of float and ternary networks compared with that of people, on CIFAR-10's test images."""

from __future__ import annotations

from typing import Annotated

import typer

from tsnn_uq.checks import InputError
from tsnn_uq.cli.main import run_command
from tsnn_uq.cli.scripts import Drawing, figure_script
from tsnn_uq.data import human_answers
from tsnn_uq.results.figures import doubt_figure
from tsnn_uq.results.studies import Runs, RunsOrPredictions, compare_with_people


@figure_script("doubt")
def main(
    source: RunsOrPredictions,
    resamples: Annotated[int, typer.Option(help="Bootstrap resamples of the inputs, for the intervals.")] = 1000,
) -> Drawing:
    """Draw the entropy of networks against that of people's answers (CIFAR-10H), and the correlations."""
    networks = source.predictions()
    counts = next((of.answers for of in networks.first().values() if of.answers is not None), None)
    if counts is None:
        if networks.data != "cifar10":
            wanted = "predictions of cifar10, or files with an array answers"
            raise InputError(f"data: expected {wanted}; got {networks.data or 'neither'}")
        counts = human_answers(source.data_dir if isinstance(source, Runs) else None)
    table = compare_with_people(networks.pairs(), counts, resamples=resamples, seed=networks.seed)
    return doubt_figure, table


if __name__ == "__main__":
    run_command(main)
