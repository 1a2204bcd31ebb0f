from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from tests.helpers.figures import faults
from tsnn_uq.checks import InputError
from tsnn_uq.results.figures import selective_curves, selective_table
from tsnn_uq.results.figures.selective import SCORES, seen_corners

METHODS = ["float", "direct", "indirect", "distill"]
# Certain, tied and lopsided predictions of two classes, exact in binary.
SHAPES = [(1.0, 0.0), (0.75, 0.25), (0.5, 0.5), (0.25, 0.75), (0.0, 1.0)]
inputs = st.lists(
    st.tuples(st.sampled_from(SHAPES), st.sampled_from(SHAPES), st.integers(0, 1)), min_size=1, max_size=12
)


def many(generator, count=3000, signal=3.0):
    target = torch.randint(10, (count,), generator=generator)
    logits = torch.randn(4, count, 10, generator=generator) + signal * torch.nn.functional.one_hot(target, 10)
    return logits.softmax(-1), target


def uncertainties(one, other):
    """Each score of two samples, written from its definition."""
    mean = [(a + b) / 2 for a, b in zip(one, other, strict=True)]

    def entropy(row):
        return -sum(p * math.log(p) for p in row if p > 0)

    return {
        "predictive-entropy": entropy(mean),
        "mutual-information": entropy(mean) - (entropy(one) + entropy(other)) / 2,
        "predictive-variance": sum(((a - b) / 2) ** 2 for a, b in zip(one, other, strict=True)),
        "max-probability": 1 - max(mean),
    }


@pytest.mark.parametrize("score", SCORES)
@given(rows=inputs)
def test_curves_follow_the_definition(score, rows):
    probs = torch.tensor([[first for first, _, _ in rows], [second for _, second, _ in rows]], dtype=torch.float64)
    target = torch.tensor([label for _, _, label in rows])
    values = [round(uncertainties(one, other)[score], 9) for one, other, _ in rows]
    wrong = [(one[0] + other[0] < one[1] + other[1]) != bool(label) for one, other, label in rows]
    table = selective_table({"direct": (probs, target)}, score)
    assert len(table) == len(rows)
    for rank, (coverage, risk) in enumerate(zip(table["coverage"], table["risk"], strict=True), start=1):
        threshold = sorted(values)[rank - 1]
        sure = [error for value, error in zip(values, wrong, strict=True) if value < threshold]
        tied = [error for value, error in zip(values, wrong, strict=True) if value == threshold]
        expected = sum(sure) + sum(tied) * (rank - len(sure)) / len(tied)  # tied ones come in random order
        assert coverage == pytest.approx(rank / len(rows))
        assert risk == pytest.approx(expected / rank)
    assert table["aurc"].iloc[0] == pytest.approx(table["risk"].mean())


def test_a_long_curve_keeps_its_ends(generator):
    table = selective_table({"float": many(generator)})
    assert len(table) == 400
    assert table["coverage"].iloc[[0, -1]].tolist() == pytest.approx([1 / 3000, 1])
    probs, target = many(torch.Generator().manual_seed(0))
    assert table["risk"].iloc[-1] == pytest.approx((probs.mean(0).argmax(-1) != target).double().mean().item())


def test_detection_is_that_of_scikit_learn(generator):
    own, foreign = many(generator, 300), many(generator, 200, signal=1.0)[0]
    both = selective_table({"float": own}, outlier={"float": foreign})
    table = both[both["curve"] == "roc"]
    score = SCORES["predictive-entropy"]
    values = torch.cat([score(own[0]), score(foreign)])
    kinds = torch.cat([torch.zeros(300), torch.ones(200)])
    assert table["auroc"].iloc[0] == pytest.approx(roc_auc_score(kinds, values))
    area = np.trapezoid(table["true_positive_rate"], table["false_positive_rate"])
    assert area == pytest.approx(table["auroc"].iloc[0], abs=1e-3)
    reached = table[table["true_positive_rate"] >= 0.95]
    assert reached["false_positive_rate"].min() == pytest.approx(table["fpr95"].iloc[0], abs=1e-2)
    assert set(table["outliers"]) == {200}


@pytest.mark.parametrize("count", [1, 3, 20_000])
def test_corners_that_are_left_out_cannot_be_seen(count):
    """Each is in the cell of a corner before it that is kept: at most 1/300 of either axis away."""
    rng = np.random.default_rng(count)
    false, true = np.sort(rng.integers(0, 10_000, (2, count)) / 10_000, axis=1)
    false[-1] = true[-1] = 1
    seen = seen_corners(false, true)
    assert seen[0]
    assert seen[-1]
    assert seen.sum() <= 2 * 300 + 3
    before = np.maximum.accumulate(np.where(seen, np.arange(count), 0))
    decades = np.log10(np.maximum(false, false[false > 0].min()))
    assert (true - true[before] <= 1 / 300 + 1e-12).all()
    assert (decades - decades[before] <= -decades[0] / 300 + 1e-12).all()


def test_figure_draws_the_table(generator):
    predictions = {"direct": many(generator), "float": many(generator, signal=2)}
    table = selective_table(predictions, outlier={"float": many(generator, signal=0)[0]})
    risk, roc = selective_curves(table.assign(foreign="letters")).axes
    selective, detection = (table[table["curve"] == curve] for curve in ("risk-coverage", "roc"))
    foot = 50 * selective.loc[selective["risk"] > 0, "risk"].min()
    for line, method in zip(risk.lines, ("float", "direct"), strict=True):
        rows = selective[selective["method"] == method]
        np.testing.assert_allclose(line.get_xdata(), 100 * rows["coverage"])
        np.testing.assert_allclose(line.get_ydata(), (100 * rows["risk"]).clip(lower=foot))
        assert line.get_label().startswith(f"{method}: AURC {1000 * rows['aurc'].iloc[0]:.2f} ")
    assert risk.get_yticks()[0] == pytest.approx(foot)
    assert risk.get_yticklabels()[0].get_text() == "0"
    np.testing.assert_allclose(roc.lines[0].get_ydata(), 100 * detection["true_positive_rate"])
    assert roc.get_ylabel() == "Flagged of letters (%)"
    assert risk.get_yscale() == roc.get_xscale() == "log"


def test_a_late_first_error_leaves_no_empty_panel():
    """320 inputs, the last twenty of them wrong: the curve is at zero before."""
    sure = torch.linspace(0.99, 0.6, 320, dtype=torch.float64)
    labels = torch.cat([torch.zeros(300), torch.ones(20)]).long()
    table = selective_table({"mine": (torch.stack([sure, 1 - sure], -1)[None], labels)})
    (axes,) = selective_curves(table).axes
    low, high = axes.get_xlim()
    assert (low, high) == (80, 100)
    shown = np.asarray(axes.lines[0].get_xdata()) >= low
    assert (np.asarray(axes.lines[0].get_ydata())[shown] >= axes.get_ylim()[0]).all()


@pytest.mark.parametrize(("methods", "outliers"), [(1, False), (4, True)])
def test_no_text_overlaps_or_leaves_the_page(generator, methods, outliers):
    predictions = {method: many(generator, 1000) for method in METHODS[:methods]}
    foreign = {method: many(generator, 500, 0)[0] for method in METHODS[:methods]}
    figure = selective_curves(selective_table(predictions, outlier=foreign if outliers else None))
    assert faults(figure) == []
    assert figure.get_figwidth() == (7.0 if outliers else 3.5)


def test_no_error_at_all_is_drawn_at_zero():
    table = selective_table({"float": (torch.eye(3)[None], torch.arange(3))})
    assert table["risk"].tolist() == [0, 0, 0]
    (axes,) = selective_curves(table).axes
    assert set(axes.lines[0].get_ydata()) == {axes.get_yticks()[0]}


def test_bad_input_is_refused(generator):
    probs, target = many(generator, 20)
    with pytest.raises(InputError, match="score: expected one of"):
        selective_table({"float": (probs, target)}, "doubt")
    with pytest.raises(InputError, match="outlier: expected one of"):
        selective_table({"float": (probs, target)}, outlier={"direct": probs})
    with pytest.raises(InputError, match="predictions: expected at least one input"):
        selective_table({"float": (probs[:, :0], target[:0])})
    with pytest.raises(InputError, match="target: expected 20 labels, one per input"):
        selective_table({"float": (probs, target[1:])})
