"""Monte Carlo variance of ternary networks against that of the float network, on the same inputs."""

from __future__ import annotations

from typing import Annotated

import typer

from tsnn_uq.checks import check_choice
from tsnn_uq.cli.main import run_command
from tsnn_uq.cli.scripts import Drawing, figure_script
from tsnn_uq.results.figures import variance_scatter, variance_table
from tsnn_uq.results.predictions import NamedPredictions
from tsnn_uq.results.studies import paired_variances


@figure_script("variance", variants=("temperature",))
def main(
    networks: NamedPredictions,
    temperature: Annotated[
        str, typer.Option(help="Of each network's softmax: one, or fitted on its own validation split.")
    ] = "one",
    resamples: Annotated[int, typer.Option(help="Resamples of the paired bootstrap.")] = 2000,
) -> Drawing:
    """Draw the variance of each input against that of the reference, and the paired difference of means by class."""
    check_choice("temperature", temperature, ("one", "fitted"))
    table = paired_variances(networks, recalibrate=temperature == "fitted", resamples=resamples)
    return variance_scatter, variance_table(table)


if __name__ == "__main__":
    run_command(main)
