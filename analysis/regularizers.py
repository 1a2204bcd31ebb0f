"""The effect of uncertainty terms in the loss, from a table of `tsnn-uq ablation`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tsnn_uq.cli.main import run_command
from tsnn_uq.cli.options import FigureFolder
from tsnn_uq.cli.scripts import figure_folder, seeds_name
from tsnn_uq.experiments.ablation import read_stage
from tsnn_uq.results.figures import ablation_figure, ablation_table, save_plot


def main(
    table: Annotated[Path, typer.Argument(metavar="TABLE", help="screening.csv or finals.csv.")],
    out: FigureFolder = None,
    calibration: Annotated[
        str, typer.Option(help="temperature: fitted to the validation split; none: uncalibrated.")
    ] = "temperature",
) -> None:
    """Draw accuracy, variance, calibration and out-of-distribution detection with and without each term."""
    numbers = ablation_table(read_stage(table), calibration=calibration)
    variant = "" if calibration == "temperature" else f"-{calibration}"
    name = f"regularizers-{table.stem}{variant}-{seeds_name(numbers)}"
    for path in save_plot(ablation_figure(numbers), numbers, figure_folder(out, table) / name):
        print(path)


if __name__ == "__main__":
    run_command(main)
