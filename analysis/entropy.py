"""Predictive entropy and mutual information of float and ternary networks: right, wrong and foreign inputs."""

from __future__ import annotations

from typing import Annotated

import typer

from tsnn_uq.cli.main import run_command
from tsnn_uq.cli.scripts import Drawing, figure_script
from tsnn_uq.results.figures import entropy_histogram, entropy_table
from tsnn_uq.results.studies import RunsOrPredictions, foreign_predictions


@figure_script("entropy", variants=("outlier",))
def main(
    source: RunsOrPredictions,
    outlier: Annotated[str, typer.Option(help="Additional foreign data set, e.g. fashion-mnist.")] = "",
) -> Drawing:
    """Draw the distributions of both uncertainties for each method."""
    foreign = foreign_predictions(source, outlier) if outlier else {}
    return entropy_histogram, entropy_table(source.predictions().pairs(), outlier=foreign)


if __name__ == "__main__":
    run_command(main)
