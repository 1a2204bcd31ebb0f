"""The inputs that are most uncertain, and those that are most confidently wrong."""

from __future__ import annotations

from typing import Annotated

import typer

from tsnn_uq.cli.main import run_command
from tsnn_uq.cli.scripts import Drawing, figure_script
from tsnn_uq.results.figures import digit_gallery, with_pictures
from tsnn_uq.results.studies import RunsOrPredictions, input_pictures, uncertain_inputs


@figure_script("digits", variants=("by",))
def main(
    source: RunsOrPredictions,
    by: Annotated[
        str, typer.Option(help="Method that orders the inputs; by default the first except the reference.")
    ] = "",
    count: Annotated[int, typer.Option(help="Number of inputs per kind.")] = 8,
) -> Drawing:
    """Draw the most uncertain test inputs and the most confidently wrong ones, with the predictions of each method."""
    table = uncertain_inputs(source.predictions(), by=by, count=count)
    return digit_gallery, with_pictures(table, "input", input_pictures(source, table))


if __name__ == "__main__":
    run_command(main)
