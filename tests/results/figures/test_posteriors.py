"""The figure of posteriors shows each source's mean and interval over seeds."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from tests.helpers.figures import faults
from tsnn_uq.checks import InputError
from tsnn_uq.results.figures import posteriors_figure, posteriors_table
from tsnn_uq.results.measures import MEASURES

MEASURED = ["accuracy", "nll", "ece", "aurc", "ood_auroc_fashion", "ood_auroc_emnist"]
SOURCES = {"float, masks": 0.0, "direct, masks": 0.5, "ternary posterior at temperature 0.01": 0.6}


@pytest.fixture
def rows():
    generator = np.random.default_rng(0)
    drawn = [
        {"dataset": "mnist", "family": "dropout", "method": method, "sparsity": sparsity, "seed": seed}
        | {"calibration": calibration, **dict(zip(MEASURED, generator.uniform(0.1, 0.9, 6), strict=True))}
        for method, sparsity in SOURCES.items()
        for seed in range(3)
        for calibration in ("none", "temperature")
    ]
    alone = drawn[-2] | {"method": "ensemble of 5 direct", "calibration": "none"}
    return pd.DataFrame([*drawn, alone])


def test_intervals_are_students(rows):
    table = posteriors_table(rows)
    assert table["method"].nunique() == 4
    for row in table.to_dict("records"):
        same = rows[(rows["method"] == row["method"]) & (rows["calibration"] == "none")]
        values = MEASURES[row["measure"]].factor * same[row["measure"]]
        assert row["mean"] == pytest.approx(values.mean())
        assert row["seeds"] == len(values)
        if len(values) > 1:
            expected = stats.ttest_1samp(values, 0).confidence_interval(0.95)
            assert (row["low"], row["high"]) == pytest.approx(tuple(expected))
        else:
            assert np.isnan([row["low"], row["high"]]).all()


def test_every_point_is_drawn(rows):
    table = posteriors_table(rows, calibration="none")
    figure = posteriors_figure(table)
    assert faults(figure) == []
    for axes, measure in zip(figure.axes, MEASURED, strict=True):
        drawn = np.concatenate([line.get_xdata() for line in axes.lines])
        assert np.sort(drawn) == pytest.approx(np.sort(table[table["measure"] == measure]["mean"]))
        assert sum(len(lines.get_segments()) for lines in axes.collections) == 4
    labels = [text.get_text().replace("\n", " ") for text in figure.axes[0].get_yticklabels()]
    assert labels == [*SOURCES, "ensemble of 5 direct"]


def test_foreign_tables_are_refused(rows):
    with pytest.raises(InputError, match=r"rows: expected the columns of posteriors.csv"):
        posteriors_table(rows.drop(columns="sparsity"))
    with pytest.raises(InputError, match="calibration: expected"):
        posteriors_table(rows, calibration="platt")
