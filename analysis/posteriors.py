"""Accuracy, calibration and detection of posteriors over networks, from a table of `tsnn-uq ablation posteriors`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tsnn_uq.cli.main import run_command
from tsnn_uq.cli.options import FigureFolder
from tsnn_uq.cli.scripts import figure_folder, seeds_name
from tsnn_uq.experiments.ablation import read_stage
from tsnn_uq.results.figures import posteriors_figure, posteriors_table, save_plot


def main(
    table: Annotated[Path, typer.Argument(metavar="TABLE", help="posteriors.csv.")],
    out: FigureFolder = None,
    calibration: Annotated[
        str, typer.Option(help="none: uncalibrated; temperature: fitted to the validation split.")
    ] = "none",
) -> None:
    """Draw accuracy, NLL, calibration and out-of-distribution detection of each posterior, with intervals."""
    numbers = posteriors_table(read_stage(table), calibration=calibration)
    variant = "" if calibration == "none" else f"-{calibration}"
    name = f"posteriors-{numbers['dataset'].iloc[0]}-{numbers['family'].iloc[0]}{variant}-{seeds_name(numbers)}"
    for path in save_plot(posteriors_figure(numbers), numbers, figure_folder(out, table) / name):
        print(path)


if __name__ == "__main__":
    run_command(main)
