"""Accuracy and uncertainty against storage, FLOPs, energy and the number of samples, from a table of results."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tsnn_uq.cli.main import run_command
from tsnn_uq.cli.options import FigureFolder, names
from tsnn_uq.cli.scripts import figure_folder, seeds_name
from tsnn_uq.results.figures import energy_figure, save_plot, tradeoff_figure
from tsnn_uq.results.studies import energy_curves, find_results, tradeoffs


def main(
    results: Annotated[
        Path,
        typer.Argument(metavar="RESULTS", help="Folder that tsnn-uq compare wrote, or its results or summary CSV."),
    ],
    out: FigureFolder = None,
    measures: Annotated[
        str,
        typer.Option(
            help="Separated by commas: accuracy, ece, nll, brier, predictive-entropy, mutual-information, ..."
        ),
    ] = "accuracy,ece,predictive-entropy",
    data: Annotated[str, typer.Option(help="Data set to draw, if the table has several.")] = "",
) -> None:
    """Draw measures of networks against their costs, with the Pareto front.

    For the folder of a comparison, measures against the energy of 1, 2, 4, ... Monte Carlo samples are drawn as well.
    """
    _, title = find_results(results)
    folder = figure_folder(out, results)
    table = tradeoffs(results, names(measures), data)
    files = [*save_plot(tradeoff_figure(table), table, folder / f"tradeoff-{title}-{seeds_name(table)}")]
    if (results / "runs").is_dir():
        curves = energy_curves(results, names(measures))
        files += save_plot(energy_figure(curves), curves, folder / f"tradeoff-samples-{title}-{seeds_name(curves)}")
    for path in files:
        print(path)


if __name__ == "__main__":
    run_command(main)
