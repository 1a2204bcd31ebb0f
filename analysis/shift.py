"""Accuracy and uncertainty of float and ternary networks on shifted images."""

from __future__ import annotations

from typing import Annotated

import typer

from tsnn_uq.cli.main import run_command
from tsnn_uq.cli.options import numbers
from tsnn_uq.cli.scripts import Drawing, figure_script
from tsnn_uq.results.figures import shift_figure, with_pictures
from tsnn_uq.results.studies import Runs, shift_curves, shifted_examples


@figure_script("shift")
def main(
    runs: Runs,
    rotate: Annotated[str, typer.Option(help="Angles in degrees; empty for none.")] = "0,30,60,90,120,150,180",
    noise: Annotated[str, typer.Option(help="Sigmas of the noise, 1 is the full intensity.")] = "0,0.2,0.4,0.6,0.8,1",
    blur: Annotated[str, typer.Option(help="Sigmas of the blur in pixels.")] = "0,0.5,1,1.5,2,2.5,3",
    inputs: Annotated[
        int, typer.Option(help="Number of test inputs; 0 for all. They are predicted for each amount.")
    ] = 1000,
    bins: Annotated[int, typer.Option(help="Bins of the calibration error.")] = 15,
    example: Annotated[int, typer.Option(help="Index of the displayed input.")] = 0,
) -> Drawing:
    """Draw accuracy, predictive entropy and calibration error against rotation, noise and blur."""
    amounts = {name: numbers(name, text) for name, text in (("rotate", rotate), ("noise", noise), ("blur", blur))}
    amounts = {name: values for name, values in amounts.items() if values}
    count = inputs or None
    examples = shifted_examples(runs, amounts, inputs=count, index=example)
    table = shift_curves(runs, amounts, inputs=count, bins=bins)
    return shift_figure, with_pictures(table, ["shift", "amount"], examples)


if __name__ == "__main__":
    run_command(main)
