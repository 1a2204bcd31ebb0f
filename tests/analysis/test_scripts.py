"""Every script of analysis/ explains itself, and draws what a comparison holds."""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
from functools import partial

import pandas as pd
import pytest

from tests.helpers.checkout import need_folder
from tests.helpers.experiments import tiny, undrawn
from tsnn_uq.experiments import Grid, compare

ANALYSIS = need_folder("analysis")
SCRIPTS = sorted(ANALYSIS.glob("*.py"))
OF_RUNS = [path for path in SCRIPTS if "@figure_script(" in path.read_text(encoding="utf-8")]  # the others read tables
BUILT_IN = [ANALYSIS / f"{name}.py" for name in ("anytime", "reliability", "shift")]  # test_anybodys_runs.py draws all


@pytest.fixture
def call(typed, monkeypatch):
    """Run a script in this process, where what is imported once serves them all."""
    monkeypatch.setenv("COLUMNS", "200")
    return lambda script, *words: typed(partial(runpy.run_path, script, run_name="__main__"), script, *words)


@pytest.fixture(scope="module")
def comparison(tmp_path_factory):
    out = tmp_path_factory.mktemp("comparison")
    with undrawn():
        compare(Grid(methods=("float", "direct"), seeds=1, run=tiny()), out)
    return out


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_help_says_what_it_draws(script, call):
    code, text, _ = call(script, "--help")
    assert code == 0
    assert "Draw" in text
    assert "--out" in text


@pytest.mark.slow
def test_a_script_runs_from_a_shell():
    environment = os.environ | {"COLUMNS": "200", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "analysis/reliability.py", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=ANALYSIS.parent, timeout=120)
    assert done.returncode == 0
    assert "Draw" in done.stdout


@pytest.mark.parametrize("script", BUILT_IN, ids=lambda path: path.stem)
def test_it_writes_a_figure_twice_and_its_numbers(script, comparison, tmp_path, call):
    code, _, error = call(script, comparison, "--out", tmp_path)
    assert code == 0, error
    names = {f"{script.stem}-digits-dropout-seed0.{suffix}" for suffix in ("csv", "pdf", "png")}
    assert {path.name for path in tmp_path.iterdir()} == names
    numbers = pd.read_csv(tmp_path / f"{script.stem}-digits-dropout-seed0.csv")
    assert len(numbers)
    if "method" in numbers:
        assert set(numbers["method"]) <= {"float", "direct"}


def test_outliers_are_a_group_of_their_own(comparison, tmp_path, call):
    script = ANALYSIS / "entropy.py"
    code, _, error = call(script, comparison, "--out", tmp_path, "--outlier", "digits:rotate=90")
    assert code == 0, error
    numbers = pd.read_csv(tmp_path / "entropy-digits-dropout-seed0-digits-rotate=90.csv")
    assert set(numbers["method"]) == {"float", "direct"}
    assert set(numbers["group"]) == {"right", "wrong", "foreign"}


def test_people_answered_to_cifar_alone(comparison, tmp_path, call):
    code, _, error = call(ANALYSIS / "doubt.py", comparison, "--out", tmp_path)
    assert code == 2
    assert error.startswith("tsnn-uq: data: expected predictions of cifar10")


@pytest.mark.parametrize("script", OF_RUNS, ids=lambda path: path.stem)
def test_a_folder_without_runs_is_one_line(script, tmp_path, call):
    code, _, error = call(script, tmp_path, "--out", tmp_path)
    assert code == 2
    assert error.startswith(f"tsnn-uq: {tmp_path}: expected finished runs of dropout")
    assert len(error.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []
