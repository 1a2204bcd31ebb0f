"""Reliability diagrams of float and ternary networks side by side, from a folder that `tsnn-uq compare` wrote."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tsnn_uq.cli.main import run_command
from tsnn_uq.cli.options import ComparisonFolder, Family, FigureFolder, Part, Seed
from tsnn_uq.experiments.compare import read_comparison
from tsnn_uq.files import write_text
from tsnn_uq.plots import reliability_diagram, reliability_table, save_figure


def main(
    folder: ComparisonFolder,
    out: FigureFolder = Path("figures"),
    family: Family = "dropout",
    part: Part = "all",
    seed: Seed = 0,
    bins: Annotated[int, typer.Option(help="Bins of equal width.")] = 15,
) -> None:
    """Draw accuracy against confidence, with Wilson intervals, confidence histograms and calibration errors."""
    predictions = read_comparison(folder, family, part, seed)
    means = {method: (probs.mean(0), labels) for method, (probs, labels) in predictions.items()}
    stem = out / f"reliability-{family}"
    write_text(stem.with_suffix(".csv"), reliability_table(means, bins).to_csv(index=False))
    for path in save_figure(reliability_diagram(means, bins), stem):
        print(path)


if __name__ == "__main__":
    run_command(main)
