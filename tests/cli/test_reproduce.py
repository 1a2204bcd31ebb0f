"""``tsnn-uq reproduce`` as a user types it."""

from __future__ import annotations

import sys
from functools import partial

import pandas as pd
import pytest

from tests.helpers.experiments import tiny
from tsnn_uq.checks import InputError
from tsnn_uq.cli import main
from tsnn_uq.experiments import Grid
from tsnn_uq.experiments.plan import QUICK, Part, Plan


@pytest.fixture
def call(typed):
    """Run the command; gives exit code, standard output and standard error."""
    return partial(typed, main, "tsnn-uq", "reproduce")


@pytest.fixture
def two_runs(monkeypatch):
    """A plan of two small runs in place of the paper's table."""

    def plan(out, **_):
        grid = Grid(methods=("float", "direct"), seeds=1, run=tiny())
        return Plan(out.resolve(), {"none": [Part(grid, out.resolve() / "none" / "digits-dropout")]}, "quick")

    monkeypatch.setattr("tsnn_uq.experiments.plan.plan_reproduction", plan)
    monkeypatch.setattr("tsnn_uq.experiments.comparison.draw_figures", lambda *_: [])


def test_a_dry_run_only_says_how_long_it_takes(call, two_runs, tmp_path):
    code, text, _ = call("--out", tmp_path / "out", "--dry-run", "--jobs", 2)
    assert code == 0
    assert "2 runs to train, about " in text
    assert " with 2 side by side\n" in text
    assert list(tmp_path.iterdir()) == []


def test_failures_are_listed_and_the_exit_code_is_1(call, two_runs, monkeypatch, tmp_path):
    runner = sys.modules["tsnn_uq.experiments.runner"]
    do_run = runner.do_run

    def fail_direct(settings, *arguments, **options):
        if settings.method.name == "direct":
            raise InputError("loss: expected a finite number")
        return do_run(settings, *arguments, **options)

    monkeypatch.setattr(runner, "do_run", fail_direct)
    code, text, _ = call("--out", tmp_path, "--jobs", 1)
    assert code == 1
    assert "2 runs to train, about " in text
    assert "1 failed; the same command tries them again" in text
    assert "dropout-all-direct-0" in text
    assert "loss: expected a finite number" in text
    assert len(pd.read_csv(tmp_path / "table.csv")) == 1
    monkeypatch.setattr(runner, "do_run", do_run)
    code, text, _ = call("--out", tmp_path, "--jobs", 1)
    assert code == 0
    assert "1 run to train, about " in text
    assert len(pd.read_csv(tmp_path / "table.csv")) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data-dir", "absent"], "nmnist: expected a folder"),
        (["--data", "digits", "--budget", "quik"], "budget: expected one of"),
        (["--data", "digits", "--backend", "dsak"], "backend: expected one of"),
        (["--data", "digits", "--address", "here:1"], "address: expected with backend dask or ray"),
    ],
)
def test_bad_input_is_one_line_and_code_2(call, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    code, _, error = call("--out", tmp_path / "out", *arguments)
    assert code == 2
    assert error.startswith(f"tsnn-uq: {message}")
    assert len(error.splitlines()) == 1


@pytest.mark.slow
def test_the_whole_table_on_digits(call, monkeypatch, tmp_path):
    for settings in QUICK.values():
        for name, value in (("train_limit", 100), ("epochs", 1), ("samples", 2)):
            monkeypatch.setitem(settings, name, value)
    arguments = ("--out", tmp_path, "--data", "digits", "--budget", "quick", "--seeds", 1, "--jobs", 1)
    code, text, _ = call(*arguments)
    assert code == 0
    assert "16 runs to train, about " in text  # after lines of progress, where timing takes long
    table = pd.read_csv(tmp_path / "table.csv")
    assert len(table) == 16
    assert set(table["budget"]) == {"quick"}
    assert len(list((tmp_path / "none").rglob("reliability-*.pdf"))) == 6
    code, text, _ = call(*arguments, "--dry-run")
    assert (code, text) == (0, "0 runs to train, about 0 s\n")
    code, _, error = call("--out", tmp_path, "--data", "digits", "--seeds", 1)
    assert code == 2
    assert "expected a folder made with budget = 'full'" in error
