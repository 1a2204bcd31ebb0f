"""Compute the Bayesian comparison of measured rows as a table for the report (a minute); its first line names the rows.

python paper/bayesian_comparison.py paper/results/mnist-fc.csv
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated

import typer

from tsnn_uq.cli.main import run_command
from tsnn_uq.files import csv_text, write_text
from tsnn_uq.results.bayesian_comparison import compare_methods
from tsnn_uq.results.tables import read_results


def main(
    results: Annotated[Path, typer.Argument(help="CSV of results.")],
    seed: Annotated[int, typer.Option(help="Seed of the draws.")] = 0,
) -> None:
    """Write posterior-<name>.csv beside the results: the posterior of each method's difference from float."""
    print(write_posterior(results, seed))


def write_posterior(results: Path, seed: int = 0) -> Path:
    """Compare the rows and write the table; returns its path."""
    path = results.with_name(f"posterior-{results.name}")
    table = compare_methods(read_results(results), seed=seed).table()
    write_text(path, f"{origin(results)}\n{csv_text(table)}")
    return path


def origin(results: Path) -> str:
    """The line that identifies the rows of a posterior."""
    return f"# of {results.name}, sha256 {hashlib.sha256(results.read_bytes()).hexdigest()}"


if __name__ == "__main__":
    run_command(main)
