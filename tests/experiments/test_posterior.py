from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd
import pytest

from tsnn_uq.checks import InputError
from tsnn_uq.experiments import Grid
from tsnn_uq.experiments.posterior import require_comparable, write_posterior

RESULTS = Path(__file__).parents[2] / "paper" / "results" / "mnist-fc.csv"


@pytest.mark.parametrize(
    ("grid", "match"),
    [
        (Grid(seeds=1), "seeds: expected at least 2 for a Bayesian comparison; got 1"),
        (
            Grid(methods=("direct", "indirect")),
            "methods: expected float and at least one other .*; got direct, indirect",
        ),
        (Grid(methods=("float",)), "methods: expected float and at least one other .*; got float"),
    ],
)
def test_what_cannot_be_compared_is_refused_before_any_run(grid, match):
    with pytest.raises(InputError, match=match):
        require_comparable([Grid(), grid])


@pytest.mark.slow
def test_table_and_figure_of_the_measured_rows(tmp_path):
    shutil.copy(RESULTS, tmp_path / "results.csv")
    files = write_posterior(tmp_path)
    assert [path.name for path in files] == ["bayes.csv", "posterior.pdf", "posterior.png"]
    table = pd.read_csv(tmp_path / "bayes.csv")
    rows = pd.read_csv(RESULTS)
    means = rows.groupby(["family", "method"])["accuracy"].mean()
    found = table[
        (table["measure"] == "accuracy") & (table["family"] == "dropout") & (table["method"] == "indirect")
    ].iloc[0]
    plain = 100 * (means["dropout", "indirect"] - means["dropout", "float"])  # points
    assert found["low"] < plain < found["high"]
