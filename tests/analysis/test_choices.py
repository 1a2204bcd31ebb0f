"""What an option that chooses another figure writes, and scripts that read tables."""

from __future__ import annotations

import importlib.util
from functools import partial

import pandas as pd
import pytest
import typer
from typer.testing import CliRunner

from tests.helpers.checkout import need_folder
from tests.helpers.studies import tiny_runs
from tsnn_uq.checks import InputError
from tsnn_uq.results.bayesian_comparison import Limits, compare_methods

ANALYSIS = need_folder("analysis")
RESULTS = need_folder("paper") / "results" / "mnist-fc.csv"


def call(script, *arguments):
    """Run a script's command in this process; what it raises is raised here."""
    spec = importlib.util.spec_from_file_location(script, ANALYSIS / f"{script}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    command = typer.Typer(add_completion=False)
    command.command()(module.main)
    CliRunner().invoke(command, [*map(str, arguments)], catch_exceptions=False)


@pytest.fixture(scope="module")
def comparison(tmp_path_factory):
    out = tmp_path_factory.mktemp("comparison")
    tiny_runs(out)
    return out


@pytest.mark.parametrize(
    ("script", "options", "name"),
    [
        ("quantization", ["--show", "sparsity", "--inputs", "20"], "quantization-digits-dropout-seed0-sparsity"),
        ("quantization", ["--show", "potentials", "--inputs", "20"], "quantization-digits-dropout-seed0-potentials"),
        ("quantization", ["--show", "raster", "--index", "5"], "quantization-digits-dropout-seed0-raster"),
        ("selective", ["--score", "max-probability"], "selective-digits-dropout-seed0-max-probability"),
        ("selective", ["--outlier", "digits:rotate=90"], "selective-digits-dropout-seed0-digits-rotate=90"),
    ],
)
def test_a_choice_stands_in_the_files_names(script, options, name, comparison, tmp_path):
    call(script, comparison, "--out", tmp_path, *options)
    assert {path.name for path in tmp_path.iterdir()} == {f"{name}.{suffix}" for suffix in ("csv", "pdf", "png")}
    assert set(pd.read_csv(tmp_path / f"{name}.csv")["method"]) == {"float", "direct"}


def test_an_unknown_choice_is_refused(comparison, tmp_path):
    with pytest.raises(InputError, match="show: expected one of"):
        call("quantization", comparison, "--out", tmp_path, "--show", "weight")


def test_tradeoffs_of_a_table_and_of_a_folder_with_predictions(comparison, tmp_path):
    call("tradeoff", RESULTS, "--out", tmp_path, "--measures", "accuracy")
    names = {f"tradeoff-mnist-fc-3-seeds.{suffix}" for suffix in ("csv", "pdf", "png")}
    assert {path.name for path in tmp_path.iterdir()} == names
    rows = pd.read_csv(RESULTS).query("family == 'dropout' and method in ('float', 'direct')")
    rows.to_csv(comparison / "results.csv", index=False)
    call("tradeoff", comparison, "--out", tmp_path, "--measures", "accuracy")
    curves = pd.read_csv(tmp_path / f"tradeoff-samples-{comparison.name}-1-seed.csv")
    assert curves["samples"].tolist() == [1, 2] * 2


@pytest.mark.slow
def test_differences_of_measured_rows(tmp_path, monkeypatch):
    few = partial(compare_methods, draws=10, warm_up=10, chains=2, limits=Limits(r_hat=100, ess=-1e6, divergent=1))
    monkeypatch.setattr("tsnn_uq.results.bayesian_comparison.compare_methods", few)  # where the script imports it
    rows = pd.read_csv(RESULTS).query("family == 'dropout' and method in ('float', 'direct')")
    rows.to_csv(tmp_path / "some.csv", index=False)
    call("differences", tmp_path / "some.csv", "--out", tmp_path, "--measures", "accuracy")
    (row,) = pd.read_csv(tmp_path / "differences-some-3-seeds.csv").to_dict("records")
    means = rows.groupby("method")["accuracy"].mean()
    assert (row["family"], row["method"], row["unit"]) == ("dropout", "direct", "points")
    assert row["low"] < 100 * (means["direct"] - means["float"]) < row["high"]
    assert (tmp_path / "differences-some-3-seeds.png").exists()


def test_posteriors_as_they_are_and_with_temperatures(tmp_path):
    table = RESULTS.with_name("posteriors-mnist.csv")
    for calibration, variant in (("none", ""), ("temperature", "-temperature")):
        call("posteriors", table, "--out", tmp_path, "--calibration", calibration)
        drawn = pd.read_csv(tmp_path / f"posteriors-mnist-dropout{variant}-3-seeds.csv")
        rows = pd.read_csv(table).query(f"method == 'laplace posterior' and calibration == '{calibration}'")
        (found,) = drawn.query("method == 'laplace posterior' and measure == 'nll'")["mean"]
        assert found == pytest.approx(rows["nll"].mean())


def test_figures_of_a_table_go_beside_it_by_default(tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    (tmp_path / "some.csv").write_bytes(RESULTS.read_bytes())
    call("tradeoff", tmp_path / "some.csv", "--measures", "accuracy")
    names = {f"tradeoff-some-3-seeds.{suffix}" for suffix in ("csv", "pdf", "png")}
    assert {path.name for path in (tmp_path / "figures").iterdir()} == names
    assert list((tmp_path / "elsewhere").iterdir()) == []


@pytest.mark.parametrize("script", ["tradeoff", "differences"])
def test_no_table_is_refused(script, tmp_path):
    with pytest.raises(InputError, match="expected a CSV file of results"):
        call(script, tmp_path, "--out", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
