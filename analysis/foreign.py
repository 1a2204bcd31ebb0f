"""Detection of foreign inputs by float and ternary networks with each common score."""

from __future__ import annotations

from typing import Annotated

import typer

from tsnn_uq.checks import InputError
from tsnn_uq.cli.main import run_command
from tsnn_uq.cli.options import names
from tsnn_uq.cli.scripts import Drawing, figure_script
from tsnn_uq.results.figures import detection_heatmap
from tsnn_uq.results.predictions import NamedPredictions
from tsnn_uq.results.studies import SCORES, RunsOrPredictions, foreign_detection

SETS = {
    "mnist": (("fashion-mnist", "emnist-letters", "notmnist"), ("cifar10", "noise")),
    "fashion-mnist": (("mnist", "emnist-letters", "notmnist"), ("cifar10", "noise")),
    "cifar10": ((), ("mnist", "fashion-mnist", "emnist-letters", "notmnist", "noise")),
    "digits": (("digits:rotate=90",), ("digits:noise=1",)),
}
"""Near and far foreign sets for each data set of the runs."""


@figure_script("foreign", variants=("measure",))
def main(
    source: RunsOrPredictions,
    near: Annotated[
        str, typer.Option(help="Near foreign sets, separated by commas; by default those of the data set.")
    ] = "",
    far: Annotated[str, typer.Option(help="Far foreign sets, separated by commas.")] = "",
    measure: Annotated[str, typer.Option(help="auroc, aupr_in, aupr_out or fpr95; the CSV has them all.")] = "auroc",
    scores: Annotated[str, typer.Option(help=f"With commas; else {', '.join(SCORES)}.")] = "",
    layer: Annotated[
        str, typer.Option(help="Layer of the features; by default the input of the last layer with weights.")
    ] = "",
    inputs: Annotated[int, typer.Option(help="Number of inputs per test set; 0 for all.")] = 2000,
    fitted: Annotated[int, typer.Option(help="Number of training inputs to fit detectors to; 0 for all.")] = 10_000,
) -> Drawing:
    """Draw the table of OpenOOD: detection of near and far foreign sets by each score."""
    known = ("", "") if source.data not in SETS else tuple(",".join(part) for part in SETS[source.data])
    if isinstance(source, NamedPredictions):
        known = ("", "")  # all foreign sets of the files
    chosen = [names(part) for part in ((near, far) if near or far else known)]
    if not any(chosen) and not (isinstance(source, NamedPredictions) and source.foreign_names):
        raise InputError(f"near, far: expected names of data sets that are foreign to {source.data}; got none")
    table = foreign_detection(
        source,
        near=chosen[0],
        far=chosen[1],
        scores=names(scores),
        layer=layer or None,
        inputs=inputs or None,
        fitted=fitted or None,
    )
    return detection_heatmap, table.assign(shown=measure)


if __name__ == "__main__":
    run_command(main)
