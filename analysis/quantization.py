"""Weights, sparsity, membrane potentials and spikes of float and ternary networks."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from tsnn_uq.checks import check_choice
from tsnn_uq.cli.main import run_command
from tsnn_uq.cli.scripts import Drawing, figure_script
from tsnn_uq.results import figures, studies

SHOWN: dict[str, tuple[Any, Any]] = {
    "weights": (studies.weight_histograms, figures.weight_code_histogram),
    "sparsity": (studies.layer_sparsity, figures.layer_sparsity_chart),
    "potentials": (studies.potential_distribution, figures.potential_histogram),
    "raster": (studies.spike_trains, figures.spike_raster),
}


@figure_script("quantization", variants=("show",))
def main(
    runs: studies.Runs,
    show: Annotated[
        str,
        typer.Option(help="weights, by the code each gets; sparsity, of weights and spikes; potentials; or raster."),
    ] = "weights",
    inputs: Annotated[int, typer.Option(help="Number of test inputs for sparsity and potentials.")] = 500,
    index: Annotated[int, typer.Option(help="Index of the test input of the raster.")] = 0,
) -> Drawing:
    """Draw weights by their ternary codes, or the activity of the networks."""
    study, plot = SHOWN[check_choice("show", show, SHOWN)]
    options = {"sparsity": {"inputs": inputs}, "potentials": {"inputs": inputs}, "raster": {"index": index}}
    table = study(runs, **options.get(show, {}))
    return plot, table


if __name__ == "__main__":
    run_command(main)
