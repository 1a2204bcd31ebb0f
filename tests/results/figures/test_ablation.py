"""The ablation's figure shows each term's mean and range over seeds, beside the network without it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from tests.helpers.figures import faults
from tsnn_uq.checks import InputError
from tsnn_uq.results.figures import ablation
from tsnn_uq.results.figures.ablation import ablation_figure, ablation_table
from tsnn_uq.results.measures import MEASURES

SHOWN = [*ablation.SHOWN, "ood_auroc_fashion", "ood_auroc_emnist"]


def screened(families=("dropout",), foreign=("rotated", "emnist", "fashion", "noise")):
    generator = np.random.default_rng(0)
    columns = [*ablation.SHOWN, *(f"ood_auroc_{name}" for name in foreign)]
    rows = []
    for family in families:
        for method in ("direct", "distill"):
            for term, weights in {"none": [0], "variance": [1, 5], "entropy": [0.1, 1]}.items():
                for weight in weights:
                    for seed in range(3):
                        text = f"{term}:{weight:g}" if weight else "none"
                        common = {"dataset": "mnist", "family": family, "method": method}
                        common |= {"term": term, "regularizer": text, "seed": seed}
                        for calibration in ("none", "temperature"):
                            values = {name: generator.uniform(0.2, 0.9) for name in columns}
                            chosen = weight in (0, 1)
                            rows.append({**common, "calibration": calibration, "chosen": chosen, **values})
    return pd.DataFrame(rows)


def test_numbers_are_means_and_ranges_of_chosen_weights():
    rows = screened()
    table = ablation_table(rows)
    assert len(table) == 2 * 3 * len(SHOWN)
    assert set(table["regularizer"]) == {"none", "variance:1", "entropy:1"}
    for row in table.to_dict("records"):
        same = rows[(rows["method"] == row["method"]) & (rows["calibration"] == "temperature")]
        values = same.loc[same["regularizer"] == row["regularizer"], row["measure"]] * MEASURES[row["measure"]].factor
        without = same.loc[same["term"] == "none", row["measure"]].mean() * MEASURES[row["measure"]].factor
        expected = [values.mean(), values.min(), values.max(), 3, without]
        assert [row[name] for name in ("mean", "low", "high", "seeds", "without")] == pytest.approx(expected)


def test_terms_are_in_the_order_of_their_variance():
    table = ablation_table(screened())
    variance = table[table["measure"] == "predictive_variance_correct"].groupby("term", sort=False)["mean"].mean()
    assert variance.is_monotonic_increasing


def test_both_calibrations_can_be_had_and_no_other():
    assert not ablation_table(screened(), calibration="none").equals(ablation_table(screened()))
    with pytest.raises(InputError, match="calibration: expected"):
        ablation_table(screened(), calibration="platt")


@pytest.mark.parametrize("families", [("dropout",), ("dropout", "dropconnect")])
def test_every_point_is_drawn(families):
    table = ablation_table(screened(families))
    figure = ablation_figure(table)
    assert faults(figure) == []
    for axes, measure in zip(figure.axes, SHOWN, strict=True):
        drawn = np.concatenate([line.get_xdata() for line in axes.lines if line.get_linestyle() == "None"])
        wanted = table[(table["measure"] == measure) & (table["term"] != "none")]["mean"]
        assert np.sort(drawn) == pytest.approx(np.sort(wanted))
    assert len(figure.axes[0].get_yticks()) == 2 * len(families)


@pytest.mark.parametrize(
    ("foreign", "titles"),
    [
        (("fashion", "rotated", "noise", "letters"), ["AUROC, Fashion-MNIST", "AUROC, letters"]),  # of older tables
        (("mnist", "rotated", "noise", "emnist"), ["AUROC, MNIST", "AUROC, EMNIST letters"]),
        (("rotated", "noise"), ["AUROC, rotated", "AUROC, noise"]),
        ((), []),
    ],
)
def test_two_foreign_sets_are_drawn_if_the_table_has_any(foreign, titles):
    figure = ablation_figure(ablation_table(screened(foreign=foreign)))
    found = [axes.get_title().replace("\n", " ") for axes in figure.axes[len(ablation.SHOWN) :]]
    assert found == titles


def test_foreign_tables_are_refused():
    with pytest.raises(InputError, match="rows: expected the columns of an ablation"):
        ablation_table(screened().drop(columns="term"))
    with pytest.raises(InputError, match="rows: expected some with calibration temperature"):
        ablation_table(screened().query("calibration == 'none'"))


def test_a_term_with_several_weights_has_a_row_for_each():
    rows = screened().assign(chosen=True)
    of_one = rows["method"].eq("direct") | ~rows["regularizer"].isin(["variance:5", "entropy:0.1"])
    table = ablation_table(rows[of_one])
    assert set(table["term"]) == {"none", "variance:1", "variance:5", "entropy:0.1", "entropy:1"}
    assert len(ablation_figure(table).axes[0].get_yticks()) == 4
