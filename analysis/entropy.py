"""Predictive entropy and mutual information of float and ternary networks: right, wrong and foreign inputs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tsnn_uq import data
from tsnn_uq.cli.main import run_command
from tsnn_uq.cli.options import ComparisonFolder, DataDir, Family, FigureFolder, Part, Seed
from tsnn_uq.experiments import load_network, predict
from tsnn_uq.experiments.compare import read_comparison, run_folder
from tsnn_uq.files import write_text
from tsnn_uq.plots import entropy_histogram, entropy_table, save_figure


def main(
    folder: ComparisonFolder,
    out: FigureFolder = Path("figures"),
    family: Family = "dropout",
    part: Part = "all",
    seed: Seed = 0,
    outlier: Annotated[str, typer.Option(help="Foreign data set to draw as well, e.g. fashion-mnist.")] = "",
    data_dir: DataDir = None,
) -> None:
    """Draw the distributions of both uncertainties, methods side by side."""
    predictions = read_comparison(folder, family, part, seed)
    foreign = {}
    if outlier:
        dataset = data.load_test(outlier, data_dir)
        for method, (probs, _) in predictions.items():
            network = load_network(run_folder(folder, family, part, method, seed))
            foreign[method] = predict(network, dataset, samples=len(probs), seed=seed)
    stem = out / f"entropy-{family}"
    write_text(stem.with_suffix(".csv"), entropy_table(predictions, outlier=foreign).to_csv(index=False))
    for path in save_figure(entropy_histogram(predictions, outlier=foreign), stem):
        print(path)


if __name__ == "__main__":
    run_command(main)
