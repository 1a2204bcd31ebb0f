"""Evaluate finished runs on data sets that they were not trained on: a table for the report with one row per run.

python paper/evaluate_other_data.py runs/mnist-fc --data fashion-mnist  # out-of-distribution detection
python paper/evaluate_other_data.py runs/simulated --data nmnist        # a related set with the same classes: accuracy
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import pandas as pd
import typer

from tsnn_uq.checks import InputError
from tsnn_uq.cli.main import run_command
from tsnn_uq.data import is_kindred
from tsnn_uq.experiments.evaluation import evaluate_run
from tsnn_uq.experiments.storage import is_finished, read_row
from tsnn_uq.files import csv_text, visible, write_text

RESULTS = Path(__file__).parent / "results"
HEAD = ("family", "quantized_part", "method", "seed")
FOREIGN = {
    "predictive_entropy": "foreign_entropy",
    "mutual_information": "foreign_information",
    "ood_auroc (predictive_entropy)": "auroc_entropy",
    "ood_auroc (mutual_information)": "auroc_information",
    "ood_fpr95 (predictive_entropy)": "fpr95_entropy",
    "ood_fpr95 (mutual_information)": "fpr95_information",
}
MEASURES = ("inputs", "accuracy", "nll", "brier", "ece", "predictive_entropy", "mutual_information")
KINDRED = {name: name for name in MEASURES}


def main(
    folder: Annotated[Path, typer.Argument(help="Folder of a comparison, as written by `tsnn-uq compare`.")],
    data: Annotated[str, typer.Option(help="The other data set.")] = "fashion-mnist",
    family: Annotated[str, typer.Option(help="Only runs of this family.")] = "",
    engine: Annotated[bool, typer.Option("--engine", help="Run ternary networks in the ternary engine.")] = False,
    out: Annotated[Path, typer.Option(help="Folder of the table.")] = RESULTS,
) -> None:
    """Write foreign-FOLDER.csv (entropy, information, AUROC and FPR95 of both) or kindred-FOLDER.csv (accuracy ...)."""
    runs = [run for run in visible(folder / "runs", f"{family}*") if is_finished(run)]
    if not runs:
        raise InputError(f"{folder}: expected a comparison with finished runs; got none")
    rows_of = {run: read_row(run) for run in runs}
    kinds = {is_kindred(row["dataset"], data) for row in rows_of.values()}
    if len(kinds) > 1:
        raise InputError(f"data: expected a set that is foreign to all runs or to none; got {data!r}")
    kind, columns = ("kindred", KINDRED) if kinds.pop() else ("foreign", FOREIGN)
    rows = []
    for run, row in rows_of.items():
        values = evaluate_run(run, data, engine=engine and row["method"] != "float")
        names = {"dataset": row["dataset"]} | {name: row[name] for name in HEAD} | {kind: data}
        version = {"version": row["version"]} if "version" in row else {}  # rows of older versions have none
        rows.append(names | {new: values[old] for old, new in columns.items()} | version)
        print(run.name, *(f"{name} {rows[-1][name]:.4f}" for name in ("accuracy", "auroc_entropy") if name in rows[-1]))
    path = out / f"{kind}-{folder.name}.csv"
    write_text(path, csv_text(pd.DataFrame(rows)))
    print(path)


if __name__ == "__main__":
    run_command(main)
