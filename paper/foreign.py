"""How well finished runs tell inputs that are none of theirs, as a table for the report: a row for each run.

python paper/foreign.py runs/mnist-fc --data fashion-mnist
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import pandas as pd
import typer

from tsnn_uq.checks import InputError
from tsnn_uq.cli.main import run_command
from tsnn_uq.experiments.folder import is_finished
from tsnn_uq.experiments.out_of_distribution import evaluate_run
from tsnn_uq.files import read_toml, write_text

RESULTS = Path(__file__).parent / "results"
NAMES = {
    "predictive_entropy": "foreign_entropy",
    "mutual_information": "foreign_information",
    "ood_auroc (predictive_entropy)": "auroc_entropy",
    "ood_auroc (mutual_information)": "auroc_information",
    "ood_fpr95 (predictive_entropy)": "fpr95_entropy",
    "ood_fpr95 (mutual_information)": "fpr95_information",
}


def main(
    folder: Annotated[Path, typer.Argument(help="Folder of a comparison, as `tsnn-uq compare` makes it.")],
    data: Annotated[str, typer.Option(help="The foreign data set.")] = "fashion-mnist",
    family: Annotated[str, typer.Option(help="Only runs of this family.")] = "",
    out: Annotated[Path, typer.Option(help="Folder of the table.")] = RESULTS,
) -> None:
    """Write foreign-<folder>.csv: entropy and information (nats) on foreign inputs, AUROC and FPR95 of both."""
    runs = [run for run in sorted((folder / "runs").glob(f"{family}*")) if is_finished(run)]
    if not runs:
        raise InputError(f"{folder}: expected a comparison with finished runs; got none")
    rows = []
    for run in runs:
        config = read_toml(run / "config.toml")
        values = evaluate_run(run, data)
        names = {"dataset": config["data"]} | {
            name: config[name] for name in ("family", "quantized_part", "method", "seed")
        }
        rows.append(names | {"foreign": data} | {new: values[old] for old, new in NAMES.items()})
        print(run.name, f"AUROC {values['ood_auroc (predictive_entropy)']:.4f}")
    path = out / f"foreign-{folder.name}.csv"
    write_text(path, pd.DataFrame(rows).to_csv(index=False))
    print(path)


if __name__ == "__main__":
    run_command(main)
