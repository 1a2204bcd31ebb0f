"""What an option that chooses another figure writes, and scripts that read tables."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from tests.helpers.studies import tiny_runs

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "paper" / "results" / "mnist-fc.csv"


def call(script, *arguments):
    environment = os.environ | {"COLUMNS": "200", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(ROOT / "analysis" / f"{script}.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=240)


@pytest.fixture(scope="module")
def comparison(tmp_path_factory):
    out = tmp_path_factory.mktemp("comparison")
    tiny_runs(out)
    return out


@pytest.mark.parametrize(
    ("script", "options", "name"),
    [
        ("quantization", ["--show", "potentials", "--inputs", "20"], "quantization-potentials-dropout"),
        ("quantization", ["--show", "raster", "--index", "5"], "quantization-raster-dropout"),
        ("selective", ["--score", "max-probability"], "selective-max-probability-dropout"),
        ("selective", ["--outlier", "digits:rotate=90"], "selective-digits-rotate=90-dropout"),
    ],
)
def test_a_choice_stands_in_the_files_names(script, options, name, comparison, tmp_path):
    done = call(script, comparison, "--out", tmp_path, *options)
    assert done.returncode == 0, done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {f"{name}.{suffix}" for suffix in ("csv", "pdf", "png")}
    assert set(pd.read_csv(tmp_path / f"{name}.csv")["method"]) == {"float", "direct"}


def test_an_unknown_choice_is_one_line(comparison, tmp_path):
    done = call("quantization", comparison, "--out", tmp_path, "--show", "weight")
    assert done.returncode == 2
    assert done.stderr.startswith("tsnn-uq: show: expected one of weights, ")
    assert len(done.stderr.splitlines()) == 1


def test_tradeoffs_of_the_measured_rows(tmp_path):
    done = call("tradeoff", RESULTS, "--out", tmp_path, "--measures", "accuracy")
    assert done.returncode == 0, done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {f"tradeoff-mnist-fc.{s}" for s in ("csv", "pdf", "png")}


@pytest.mark.slow
def test_differences_of_the_measured_rows(tmp_path):
    done = call("differences", RESULTS, "--out", tmp_path, "--measures", "accuracy")
    assert done.returncode == 0, done.stderr
    table = pd.read_csv(tmp_path / "differences-mnist-fc.csv")
    rows = pd.read_csv(RESULTS).groupby(["family", "method"])["accuracy"].mean()
    for row in table[table["family"] != "all"].to_dict("records"):
        observed = 100 * (rows[row["family"], row["method"]] - rows[row["family"], "float"])
        assert row["low"] < observed < row["high"]


@pytest.mark.parametrize("script", ["tradeoff", "differences"])
def test_no_table_is_one_line(script, tmp_path):
    done = call(script, tmp_path, "--out", tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith(f"tsnn-uq: {tmp_path}: expected a CSV file of results")
    assert len(done.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []
