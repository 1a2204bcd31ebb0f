"""Error and calibration of float and ternary networks on corrupted images."""

from __future__ import annotations

from typing import Annotated

import typer

from tsnn_uq.cli.main import run_command
from tsnn_uq.cli.options import names
from tsnn_uq.cli.scripts import Drawing, figure_script
from tsnn_uq.data import CORRUPTIONS
from tsnn_uq.results.figures import corruption_figure, with_pictures
from tsnn_uq.results.studies import Runs, corrupted_examples, corruption_curves


@figure_script("corruption")
def main(
    runs: Runs,
    kinds: Annotated[
        str, typer.Option(help="Kinds of corruption, separated by commas; by default all of CIFAR-10-C except frost.")
    ] = "",
    inputs: Annotated[
        int, typer.Option(help="Number of test inputs; 0 for all. They are predicted for each corruption.")
    ] = 1000,
    samples: Annotated[int, typer.Option(help="Monte Carlo samples of each prediction.")] = 8,
    bins: Annotated[int, typer.Option(help="Bins of the calibration error.")] = 15,
    example: Annotated[int, typer.Option(help="Index of the displayed input.")] = 0,
) -> Drawing:
    """Draw error, calibration error, NLL and entropy against the severity of corruptions."""
    wanted, count = names(kinds) or list(CORRUPTIONS), inputs or None
    examples = corrupted_examples(runs, wanted, inputs=count, index=example)
    table = corruption_curves(runs, wanted, inputs=count, samples=samples, bins=bins)
    return corruption_figure, with_pictures(table, "kind", examples)


if __name__ == "__main__":
    run_command(main)
