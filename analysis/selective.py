"""Selective prediction and detection of foreign inputs by float and ternary networks."""

from __future__ import annotations

from typing import Annotated

import typer

from tsnn_uq.cli.main import run_command
from tsnn_uq.cli.scripts import Drawing, figure_script
from tsnn_uq.results.figures import selective_curves, selective_table
from tsnn_uq.results.figures.selective import SCORES
from tsnn_uq.results.studies import RunsOrPredictions, foreign_predictions


@figure_script("selective", variants=("score", "outlier"))
def main(
    source: RunsOrPredictions,
    score: Annotated[str, typer.Option(help=f"Uncertainty: {', '.join(SCORES)}.")] = "predictive-entropy",
    outlier: Annotated[str, typer.Option(help="Foreign data set to detect, e.g. fashion-mnist.")] = "",
) -> Drawing:
    """Draw risk-coverage curves and, with --outlier, ROC curves of out-of-distribution detection."""
    foreign = foreign_predictions(source, outlier) if outlier else {}
    return selective_curves, selective_table(source.predictions().pairs(), score, outlier=foreign)


if __name__ == "__main__":
    run_command(main)
