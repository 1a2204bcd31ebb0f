"""Posteriors of the differences between ternary and float networks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tsnn_uq.cli.main import run_command
from tsnn_uq.cli.options import FigureFolder, names
from tsnn_uq.cli.scripts import figure_folder, seeds_name
from tsnn_uq.results.bayesian_comparison import compare_methods
from tsnn_uq.results.figures import describe, posterior_differences, posterior_table, save_plot
from tsnn_uq.results.studies import find_results
from tsnn_uq.results.tables import read_results


def main(
    results: Annotated[
        Path, typer.Argument(metavar="RESULTS", help="Folder that tsnn-uq compare wrote, or a CSV like its results.")
    ],
    out: FigureFolder = None,
    measures: Annotated[
        str, typer.Option(help="Columns of the results, separated by commas.")
    ] = "accuracy,predictive_entropy,predictive_variance,ece",
    baseline: Annotated[str, typer.Option(help="Method that the others are compared with.")] = "float",
    draws: Annotated[int, typer.Option(help="Draws per chain, of four chains.")] = 250,
    warm_up: Annotated[int, typer.Option(help="Warm-up draws per chain, which are discarded.")] = 100,
    seed: Annotated[int, typer.Option(help="Of the draws.")] = 0,
) -> None:
    """Draw the posterior of each difference from the baseline, with regions of practical equivalence."""
    path, title = find_results(results)
    rows = read_results(path)
    comparison = compare_methods(rows, names(measures), seed=seed, baseline=baseline, draws=draws, warm_up=warm_up)
    table = posterior_table(comparison.table(), comparison.draws)
    table = describe(table, seeds=rows["seed"].nunique(), reference=baseline)
    name = f"differences-{title}-{seeds_name(table)}"
    for file in save_plot(posterior_differences(table), table, figure_folder(out, results) / name):
        print(file)


if __name__ == "__main__":
    run_command(main)
