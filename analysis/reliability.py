"""Reliability diagrams of float and ternary networks side by side."""

from __future__ import annotations

from typing import Annotated

import typer

from tsnn_uq.cli.main import run_command
from tsnn_uq.cli.scripts import Drawing, figure_script
from tsnn_uq.results.figures import reliability_diagram, reliability_table
from tsnn_uq.results.predictions import NamedPredictions


@figure_script("reliability")
def main(networks: NamedPredictions, bins: Annotated[int, typer.Option(help="Bins of equal width.")] = 15) -> Drawing:
    """Draw accuracy against confidence, with Wilson intervals, confidence histograms and calibration errors."""
    return reliability_diagram, reliability_table(networks.pairs(), bins)


if __name__ == "__main__":
    run_command(main)
