from __future__ import annotations

import math

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from tests.helpers.figures import faults
from tsnn_uq.checks import InputError
from tsnn_uq.results.figures import reliability_diagram, reliability_table

METHODS = ["float", "direct", "indirect", "distill"]
# The confidence of the first of two classes, with bin edges of 2, 4 and 10 bins, both ends and a tie of the classes.
confidences = st.one_of(st.sampled_from([0.0, 0.1, 0.25, 0.3, 0.5, 0.7, 0.75, 0.9, 1.0]), st.floats(0, 1))


def two_classes(first: list[float]) -> torch.Tensor:
    p = torch.tensor(first, dtype=torch.float64)
    return torch.stack([p, 1 - p], 1)


def many(generator: torch.Generator, count: int = 400, sharpness: float = 1.0) -> tuple[torch.Tensor, torch.Tensor]:
    """Predictions over ten classes, most of them right."""
    target = torch.randint(10, (count,), generator=generator)
    logits = torch.randn(count, 10, generator=generator) + 3 * torch.nn.functional.one_hot(target, 10)
    return (sharpness * logits).softmax(-1), target


@given(st.lists(st.tuples(confidences, st.integers(0, 1)), min_size=1, max_size=20), st.sampled_from([1, 2, 4, 10]))
def test_table_follows_the_definition(inputs: list[tuple[float, int]], bins: int) -> None:
    probs, target = two_classes([p for p, _ in inputs]), torch.tensor([label for _, label in inputs])
    table = reliability_table({"direct": (probs, target)}, bins)
    edges = [i / bins for i in range(bins + 1)]
    error = 0.0
    for i, row in table.iterrows():
        low, high = edges[i], edges[i + 1]
        rows = [(max(p), p.index(max(p)) == y) for p, y in zip(probs.tolist(), target.tolist(), strict=True)]
        members = [(c, hit) for c, hit in rows if low <= c < high or (c == 1 and high == 1)]
        assert (row["bin_low"], row["bin_high"], row["count"]) == (low, high, len(members))
        if not members:
            assert row[["confidence", "accuracy", "accuracy_low", "accuracy_high"]].isna().all()
            continue
        confidence, hits = sum(c for c, _ in members) / len(members), sum(hit for _, hit in members)
        wilson = binomtest(hits, len(members)).proportion_ci(0.95, method="wilson")
        assert row["confidence"] == pytest.approx(confidence)
        assert row["accuracy"] == pytest.approx(hits / len(members))
        assert (row["accuracy_low"], row["accuracy_high"]) == pytest.approx((wilson.low, wilson.high), abs=1e-9)
        error += len(members) / len(inputs) * abs(hits / len(members) - confidence)
    assert table["ece"].tolist() == pytest.approx([error] * bins)
    assert table["inputs"].tolist() == [len(inputs)] * bins


def test_figure_draws_the_table_and_leaves_empty_bins_out() -> None:
    predictions = {
        "direct": (two_classes([0.6, 0.6, 0.95, 1.0]), torch.tensor([0, 1, 0, 0])),
        "float": (two_classes([0.6, 0.6, 0.7, 0.7]), torch.tensor([0, 1, 0, 0])),
    }
    table = reliability_table(predictions, 10)
    figure = reliability_diagram(table)
    curves, histograms = figure.axes[:2], figure.axes[2:]
    for method, curve, histogram in zip(["float", "direct"], curves, histograms, strict=True):
        rows = table[table["method"] == method]
        points = curve.containers[0].lines[0].get_xydata()
        np.testing.assert_array_equal(points, rows[["confidence", "accuracy"]].to_numpy())
        assert [math.isnan(y) for _, y in points] == [count == 0 for count in rows["count"]]
        spans = [line[:, 1] for line in curve.containers[0].lines[2][0].get_segments() if len(line)]
        filled = rows[rows["count"] > 0]
        np.testing.assert_allclose(
            [s for s in spans if not np.isnan(s).any()], filled[["accuracy_low", "accuracy_high"]]
        )
        assert [bar.get_height() for bar in histogram.patches] == rows["count"].tolist()
        assert curve.get_title() == f"{method}\nECE {100 * rows['ece'].iloc[0]:.2f} %"


def test_counts_are_logarithmic_only_where_confidences_saturate() -> None:
    target = torch.zeros(4, dtype=torch.long)
    spread = reliability_diagram(reliability_table({"float": (two_classes([0.55, 0.65, 0.75, 0.85]), target)}, 10))
    assert (spread.axes[1].get_yscale(), spread.axes[1].get_ylabel()) == ("linear", "Inputs")
    saturated = reliability_diagram(reliability_table({"float": (two_classes([0.65, 1.0, 1.0, 1.0]), target)}, 10))
    assert (saturated.axes[1].get_yscale(), saturated.axes[1].get_ylabel()) == ("log", "Inputs (log)")
    assert saturated.axes[1].get_ylim()[0] < 1  # a bin of one input has a height


@pytest.mark.parametrize(("panels", "sharpness"), [(1, 0.3), (2, 4.0), (3, 0.3), (4, 4.0)])
def test_no_text_overlaps_or_leaves_the_page(generator: torch.Generator, panels: int, sharpness: float) -> None:
    predictions = {method: many(generator, 20000, sharpness) for method in METHODS[:panels]}
    figure = reliability_diagram(reliability_table(predictions))
    assert faults(figure) == []
    assert figure.get_figwidth() == (3.5 if panels == 1 else 7.0)


def test_arrays_and_tensors_are_one(generator: torch.Generator) -> None:
    probs, target = many(generator)
    expected = reliability_table({"float": (probs, target)})
    assert reliability_table({"float": (probs.numpy(), target.numpy())}).equals(expected)


def test_pyplot_keeps_no_figure(generator: torch.Generator) -> None:
    reliability_diagram(reliability_table({"float": many(generator)}))
    assert plt.get_fignums() == []


def test_bad_predictions_are_refused(generator: torch.Generator) -> None:
    probs, target = many(generator)
    with pytest.raises(InputError, match="are these logits"):
        reliability_table({"float": (probs.log(), target)})
    with pytest.raises(InputError, match="bins: expected a positive whole number"):
        reliability_table({"float": (probs, target)}, bins=0)
