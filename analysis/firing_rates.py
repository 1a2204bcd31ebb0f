"""Accuracy, calibration and energy against the firing rate."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tsnn_uq.cli.main import run_command
from tsnn_uq.cli.options import DataDir, Family, FigureFolder, follow_names
from tsnn_uq.cli.scripts import figure_folder
from tsnn_uq.results.figures import describe, firing_rate_figure, save_plot
from tsnn_uq.results.studies import firing_rates, require_runs


def main(
    folders: Annotated[
        list[Path],
        typer.Argument(help="Folders that tsnn-uq compare wrote, one for each weight of a regularizer, such as rate."),
    ],
    out: FigureFolder = None,
    inputs: Annotated[int, typer.Option(help="Number of test inputs on which spikes are counted.")] = 500,
    family: Family = "",
    data: Annotated[str, typer.Option(help="Data set of the runs, if it is a FILE.py:name.")] = "",
    data_dir: DataDir = None,
) -> None:
    """Draw accuracy, calibration and energy against the firing rate of hidden neurons."""
    follow_names("data", data)
    network = follow_names("network", family)
    comparisons = [require_runs(folder, family=network, data_dir=data_dir) for folder in folders]
    table = describe(firing_rates(comparisons, inputs=inputs), **comparisons[0].facts)
    file = figure_folder(out, folders[0]) / f"firing-rates-{comparisons[0].file_name}"
    for path in save_plot(firing_rate_figure(table), table, file):
        print(path)


if __name__ == "__main__":
    run_command(main)
