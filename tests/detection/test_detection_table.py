from __future__ import annotations

import pytest
import torch
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

from tsnn_uq.checks import InputError
from tsnn_uq.detection import detection_table


def test_it_has_scikit_learns_numbers_and_the_means_of_near_and_far(generator: torch.Generator) -> None:
    draw = lambda count, shift: {s: torch.randn(count, generator=generator) + shift for s in ("entropy", "knn")}  # noqa: E731
    inside, outside = draw(80, 0), {"letters": draw(30, 0.5), "fashion": draw(50, 2), "noise": draw(20, 3)}
    table = detection_table(inside, outside, near=["letters"])
    assert list(table.columns) == ["score", "distance", "data", "inputs", "auroc", "aupr_in", "aupr_out", "fpr95"]
    assert len(table) == 2 * (2 + 3)
    for score, own in inside.items():
        rows = table[table["score"] == score].set_index("data")
        for name, other in outside.items():
            row = table[(table["score"] == score) & (table["data"] == name)].iloc[0]
            foreign = torch.cat([torch.zeros(len(own)), torch.ones(len(other[score]))])
            values = torch.cat([own, other[score]])
            assert row["auroc"] == pytest.approx(roc_auc_score(foreign, values))
            assert row["aupr_out"] == pytest.approx(average_precision_score(foreign, values))
            assert row["aupr_in"] == pytest.approx(average_precision_score(1 - foreign, -values))
            fpr, tpr, _ = roc_curve(foreign, values, drop_intermediate=False)
            assert row["fpr95"] == pytest.approx(fpr[(tpr >= 0.95).argmax()])
            assert row["inputs"] == len(other[score])
            assert row["distance"] == ("near" if name == "letters" else "far")
        far = table[(table["score"] == score) & (table["distance"] == "far")].set_index("data")
        for measure in ("auroc", "aupr_in", "aupr_out", "fpr95"):
            assert far.loc["mean", measure] == pytest.approx(far.loc[["fashion", "noise"], measure].mean())
        assert far.loc["mean", "inputs"] == 70
        assert rows.loc["letters", "distance"] == "near"


def test_what_does_not_fit_is_refused() -> None:
    one = {"knn": torch.rand(3)}
    with pytest.raises(InputError, match="at least one data set"):
        detection_table(one, {})
    with pytest.raises(InputError, match="near: expected one of"):
        detection_table(one, {"noise": one}, near=["noisy"])
    with pytest.raises(InputError, match="outside: expected the scores knn"):
        detection_table(one, {"noise": {"entropy": torch.rand(3)}})
    with pytest.raises(InputError, match="NaN"):
        detection_table(one, {"noise": {"knn": torch.full((2,), torch.nan)}})
