"""Accuracy and uncertainty of float and ternary networks against Monte Carlo samples and time steps."""

from __future__ import annotations

from typing import Annotated

import typer

from tsnn_uq.cli.main import run_command
from tsnn_uq.cli.options import names
from tsnn_uq.cli.scripts import Drawing, figure_script
from tsnn_uq.results.figures import anytime_figure
from tsnn_uq.results.studies import RunsOrPredictions, anytime_curves


@figure_script("anytime", variants=("outlier",))
def main(
    source: RunsOrPredictions,
    outlier: Annotated[str, typer.Option(help="Foreign data set to detect, e.g. fashion-mnist.")] = "",
    masks: Annotated[str, typer.Option(help="Masks fixed over the time steps, redrawn at each, or both.")] = (
        "fixed,per-step"
    ),
    inputs: Annotated[int, typer.Option(help="Number of test inputs; 0 for all.")] = 0,
    repeats: Annotated[int, typer.Option(help="Random orders of the samples that are averaged.")] = 20,
    bins: Annotated[int, typer.Option(help="Bins of the calibration error.")] = 15,
) -> Drawing:
    """Draw accuracy and uncertainty against the number of samples and time steps, for fixed and redrawn masks."""
    table = anytime_curves(
        source, masks=names(masks), outlier=outlier, inputs=inputs or None, repeats=repeats, bins=bins
    )
    return anytime_figure, table


if __name__ == "__main__":
    run_command(main)
