"""Table 1 against means and deviations by hand; what the figures of the methods count."""

from __future__ import annotations

import math
import statistics
from pathlib import Path

import pandas as pd
import pytest
import torch
from torch import nn

pytest.importorskip("paper.cost_model", reason="needs a checkout: paper/ is not beside tests/")

from paper.cost_model import cost_rows
from paper.report_sources import Sources
from paper.table_1 import paper_rows, spread_apart
from paper.weight_histograms import BINS, fix_first_share, histogram
from tsnn_uq.experiments import make_settings

SOURCES = Sources(Path(__file__).parents[2])


def test_the_authors_rows_are_all_there_and_said_to_be_theirs():
    path = SOURCES.results / "wu-et-al-table1.csv"
    assert "doi:10.1007/s11704-025-51519-1" in path.read_text(encoding="utf-8").splitlines()[0]
    rows = paper_rows(SOURCES.theirs, SOURCES.summary)
    theirs = rows[rows["source"] == "Wu et al."]
    assert len(theirs) == 16
    pd.testing.assert_series_equal(theirs["accuracy_pct"].reset_index(drop=True), SOURCES.theirs["accuracy_pct"])
    followed = rows["source"].shift(-1)[rows["source"] == "Wu et al."]
    assert set(followed) <= {"ours", "not run"}


@pytest.mark.parametrize(("column", "measure", "unit"), [("accuracy", "accuracy", 100), ("sparsity", "sparsity", 100)])
def test_our_rows_are_means_and_deviations_of_the_seeds(column, measure, unit):
    rows = paper_rows(SOURCES.theirs, SOURCES.summary)
    alike = (rows["algorithm"] == "SNN-Dropout") & (rows["method"] == "direct") & (rows["source"] == "ours")
    every = SOURCES.rows
    of_mnist = every[(every["family"] == "dropout") & (every["dataset"] == "mnist")]
    values = [unit * value for value in of_mnist[of_mnist["method"] == "direct"][measure]]
    (row,) = rows[alike].to_dict("records")
    assert row[f"{column}_pct"] == pytest.approx(statistics.mean(values))
    assert row[f"{column}_std"] == pytest.approx(statistics.stdev(values))
    assert row["seeds"] == len(values)


def test_marks_follow_the_spreads():
    summary, theirs = SOURCES.summary.copy(), SOURCES.theirs
    direct = (summary["family"] == "dropout") & (summary["method"] == "direct")
    (of_theirs,) = theirs[(theirs["algorithm"] == "SNN-Dropout") & (theirs["method"] == "direct")].to_dict("records")
    for shift, mark in ((2.1, "higher"), (-2.1, "lower"), (1.9, ""), (0.0, "")):
        summary.loc[direct, "accuracy_pct_mean"] = of_theirs["accuracy_pct"] + shift * of_theirs["accuracy_std"]
        summary.loc[direct, "accuracy_pct_std"] = 0.0
        rows = paper_rows(theirs, summary)
        ours = rows[(rows["algorithm"] == "SNN-Dropout") & (rows["method"] == "direct") & (rows["source"] == "ours")]
        assert ours["accuracy_mark"].item() == mark


def test_spreads_add_as_variances_and_an_unknown_one_is_nothing():
    assert spread_apart(10.1, 3.0, 0.0, 4.0)
    assert not spread_apart(9.9, 3.0, 0.0, 4.0)
    assert spread_apart(6.1, 3.0, 0.0, math.nan)
    assert not spread_apart(0.0, math.nan, 0.0, math.nan)


def test_the_cost_model_is_as_near_to_the_authors_as_was_found_by_hand():
    rows = cost_rows(SOURCES.theirs).set_index(["algorithm", "quantized_part", "method"])
    assert rows.loc[("SNN-PLIF", "2FC", "direct"), "layer_pj"] == pytest.approx(5.9e11, rel=0.02)
    assert rows.loc[("SNN-PLIF", "2Conv", "direct"), "layer_pj"] == pytest.approx(2.7e11, rel=0.02)
    assert (rows["paper_pj"] / rows["energy_pj"] - 1).abs().max() < 0.02


def test_a_histogram_counts_every_weight_once_and_zero_in_the_middle():
    weight = torch.tensor([[0.0, 0.5, -0.5], [9.0, -9.0, 0.01]])
    fixed = torch.tensor([[True, False, False], [False, True, False]])
    table = histogram(weight, fixed, span=1.0)
    assert len(table) == BINS
    assert table["free"].sum() == 4
    assert table["fixed"].sum() == 2
    assert table["fixed"].iloc[BINS // 2] == 1
    assert table["free"].iloc[-1] == table["fixed"].iloc[0] == 1


def test_the_first_share_of_each_layer_is_fixed_to_three_values(generator):
    network = nn.Sequential(nn.Linear(20, 30, bias=False), nn.Linear(30, 10, bias=False))
    nn.init.normal_(network[0].weight, generator=generator)
    before = network[0].weight.detach().clone()
    fixed = fix_first_share(network, make_settings({}))
    assert {name: int(mask.sum()) for name, mask in fixed.items()} == {"0": 300, "1": 150}
    weight = network[0].weight.detach()
    assert len(weight[fixed["0"]].unique()) == 3
    assert torch.equal(weight[~fixed["0"]], before[~fixed["0"]])
