"""What stopping early with a promise saves, loses and costs, for float and ternary networks."""

from __future__ import annotations

from typing import Annotated

import typer

from tsnn_uq.cli.main import run_command
from tsnn_uq.cli.scripts import Drawing, figure_script
from tsnn_uq.results.figures import stopping_figure
from tsnn_uq.results.studies import RunsOrPredictions, stopping_curves


@figure_script("stopping")
def main(
    source: RunsOrPredictions,
    delta: Annotated[float, typer.Option(help="Probability with which a promised loss may be exceeded.")] = 0.05,
    inputs: Annotated[int, typer.Option(help="Inputs of the validation and of the test part to use; 0 for all.")] = 0,
) -> Drawing:
    """Draw what is lost and covered against the steps saved, and the energy of a decision against what it may lose."""
    table = stopping_curves(source, delta=delta, inputs=inputs or None)
    return stopping_figure, table


if __name__ == "__main__":
    run_command(main)
