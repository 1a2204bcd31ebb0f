"""The frame of the scripts that draw runs: their options, their files, and what they are given."""

from __future__ import annotations

import inspect
from functools import partial
from typing import Annotated

import pandas as pd
import pytest
import typer
from matplotlib.figure import Figure

from tests.helpers.experiments import tiny, undrawn
from tsnn_uq.cli.main import run_command
from tsnn_uq.cli.scripts import Drawing, figure_script
from tsnn_uq.experiments import Grid, compare
from tsnn_uq.results.figures.style import new_figure
from tsnn_uq.results.studies import Runs

SEEN = []


@figure_script("labels")
def draw(runs: Runs, most: Annotated[int, typer.Option(help="Labels drawn.")] = 5) -> Drawing:
    """Draw the first labels."""
    SEEN.append((runs, most))
    labels = runs.predictions().labels[:most]
    return plot, pd.DataFrame({"label": labels})


def plot(table: pd.DataFrame) -> Figure:
    figure = new_figure(2.0, panels=1)
    figure.add_subplot().plot(table["label"])
    return figure


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("comparison")
    with undrawn():
        compare(Grid(methods=("float", "direct"), seeds=1, run=tiny()), out)
    return out


@pytest.fixture
def call(typed):
    """Run the script; gives exit code, standard output and standard error."""
    SEEN.clear()
    return partial(typed, lambda: run_command(draw), "labels")


def test_a_script_has_its_own_options_and_those_that_find_runs():
    names = list(inspect.signature(draw).parameters)
    assert names[:2] == ["sources", "most"]
    assert {"out", "family", "part", "seed", "methods", "train", "data", "data_dir", "jobs"} <= set(names)
    assert "runs" not in names
    assert draw.__wrapped__.__name__ == "draw"


def test_it_writes_what_it_drew_and_says_where(folder, call, rendered, tmp_path):
    code, text, _ = call(folder, "--out", tmp_path, "--most", 3, "--methods", "direct")
    assert code == 0
    files = {tmp_path / f"labels-digits-dropout-seed0.{suffix}" for suffix in ("csv", "pdf", "png")}
    assert set(tmp_path.iterdir()) == files
    assert {str(path) for path in files} == set(text.split())
    assert len(pd.read_csv(tmp_path / "labels-digits-dropout-seed0.csv")) == 3
    for start in (b"%PDF-", b"\x89PNG"):
        assert [path for path in files if path.read_bytes().startswith(start)]
    ((runs, most),) = SEEN
    assert most == 3
    assert list(runs.folders) == ["direct"]


def test_missing_runs_are_one_line_and_nothing_is_written(folder, call, tmp_path):
    code, _, error = call(folder, "--out", tmp_path, "--methods", "distill")
    assert code == 2
    assert error.startswith(f"tsnn-uq: {folder}: expected finished runs of distill of dropout")
    assert len(error.splitlines()) == 1
    assert SEEN == []
    assert list(tmp_path.iterdir()) == []


def test_help_tells_the_options_of_both(call, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    code, text, _ = call("--help")
    assert code == 0
    for word in ("Draw the first labels.", "--most", "Labels drawn.", "--train", "FOLDER"):
        assert word in text


def test_figures_go_beside_the_runs_by_default(folder, call, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    code, _, _ = call(folder)
    assert code == 0
    names = {f"labels-digits-dropout-seed0.{suffix}" for suffix in ("csv", "pdf", "png")}
    assert {path.name for path in (folder / "figures").iterdir()} == names
    assert list(tmp_path.iterdir()) == []
