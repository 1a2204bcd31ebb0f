"""Early stopping with guarantees: steps saved, accuracy lost and energy, for float and ternary networks."""

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
    delta: Annotated[float, typer.Option(help="Probability of exceeding the promised loss.")] = 0.05,
    inputs: Annotated[int, typer.Option(help="Number of validation and of test inputs; 0 for all.")] = 0,
) -> Drawing:
    """Draw accuracy lost and coverage against steps saved, and energy per decision against the promised loss."""
    table = stopping_curves(source, delta=delta, inputs=inputs or None)
    return stopping_figure, table


if __name__ == "__main__":
    run_command(main)
