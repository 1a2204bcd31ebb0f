"""Figures of corruptions, of foreign sets and of people's compare_with_people, from made-up tables."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from tests.helpers.figures import drawn_texts, faults
from tsnn_uq.checks import InputError
from tsnn_uq.data import CORRUPTIONS
from tsnn_uq.results.figures import corruption_figure, detection_heatmap, doubt_figure, with_pictures

METHODS = ["float", "direct", "mine"]


def corruptions(methods=2, kinds=tuple(CORRUPTIONS)):
    rng, rows = np.random.default_rng(0), []
    for method in METHODS[:methods]:
        for kind in ("none", *kinds):
            for severity in (0,) if kind == "none" else range(1, 6):
                names = {"method": method, "kind": kind, "severity": severity, "temperature_outcome": "optimum"}
                values = {name: rng.uniform(0.1, 0.6) for name in ("error", "ece", "nll", "entropy")}
                scaled = {f"scaled_{name}": value / 2 for name, value in values.items() if name != "error"}
                rows.append(names | values | scaled | {"inputs": 1000, "samples": 8, "bins": 15})
    examples = {kind: rng.random((3, 8, 8)) for kind in ("none", *kinds)}
    return pd.DataFrame(rows), examples


@pytest.mark.parametrize(
    ("kinds", "methods"), [(("fog",), 1), pytest.param(tuple(CORRUPTIONS), 3, marks=pytest.mark.slow)]
)
def test_corruptions_are_readable_with_and_without_images(methods, kinds):
    table, examples = corruptions(methods, kinds)
    for shown in (with_pictures(table, "kind", examples), table):
        figure = corruption_figure(shown)
        assert faults(figure) == []
        texts = {text.get_text() for text in drawn_texts(figure)}
        assert {"Error (%)", "ECE (%)", "NLL (nats)"} <= texts
        assert any("N = 1,000 test inputs, S = 8 Monte Carlo samples." in text for text in texts)
        assert sum(bool(axes.images) for axes in figure.axes) == ("picture" in shown) * (1 + len(kinds))


def test_curves_are_means_over_kinds():
    table, _ = corruptions()
    error, ece, *_, bars = corruption_figure(table).axes
    for line, method in zip(error.lines, METHODS, strict=False):
        means = table[table["method"] == method].groupby("severity")["error"].mean()
        np.testing.assert_allclose(line.get_xydata(), np.column_stack([means.index, 100 * means]))
    assert len(ece.lines) == 4
    heights = [bar.get_height() for bar in bars.patches[:14]]
    means = table[table["method"] == "float"].groupby("kind", sort=False)["error"].mean()[1:]
    np.testing.assert_allclose(heights, 100 * means)
    table["temperature_outcome"] = "lower bound"
    assert len(corruption_figure(table).axes[1].lines) == 2


@pytest.mark.parametrize(("methods", "measure"), [(1, "auroc"), (3, "fpr95")])
def test_the_best_score_of_each_set_is_bold(methods, measure):
    rng, rows = np.random.default_rng(1), []
    sets = [("near", "emnist-letters"), ("near", "fashion-mnist"), ("near", "mean"), ("far", "noise"), ("far", "mean")]
    for method in METHODS[:methods]:
        for score in ("mutual-information", "mahalanobis", "scp"):
            for distance, name in sets:
                names = {"method": method, "score": score, "distance": distance, "data": name}
                rows.append(names | {measure: rng.random()})
    table = pd.DataFrame(rows).assign(shown=measure)
    figure = detection_heatmap(table)
    assert faults(figure) == []
    columns = table[table["method"] == "float"].groupby(["distance", "data"])[measure]
    best = columns.min() if measure == "fpr95" else columns.max()
    bold = {text.get_position()[0]: text.get_text() for text in figure.axes[0].texts if text.get_weight() == "bold"}
    assert bold == {place: f"{100 * best[names]:.1f}" for place, names in enumerate(sets)}
    with pytest.raises(InputError, match="measure: expected one of"):
        detection_heatmap(table.assign(shown="auc"))


@pytest.mark.parametrize("methods", [1, 3])
def test_doubts_are_readable(methods):
    rows = [{"method": "people", "measure": "cross-entropy to people", "value": 0.15, "inputs": 10_000}]
    for place, method in enumerate(METHODS[:methods]):
        measures = ["predictive entropy", "expected entropy (aleatoric)", "mutual information (epistemic)"]
        for measure in (*measures, "cross-entropy to people"):
            value = 0.3 + 0.1 * place
            rows.append({"method": method, "measure": measure, "value": value, "low": value - 0.1, "high": value + 0.2})
        for people in (0.0, 0.2, 0.6):
            value = people + 0.1
            limits = {"low": value - 0.05, "high": value + 0.05, "people": people}
            rows.append({"method": method, "measure": "mean entropy", "value": value} | limits)
    table = pd.DataFrame(rows).assign(inputs=10_000)
    figure = doubt_figure(table)
    assert faults(figure) == []
    left, right = figure.axes
    np.testing.assert_allclose(left.lines[0].get_xydata(), [[0, 0.1], [0.2, 0.3], [0.6, 0.7]])
    np.testing.assert_allclose(right.containers[0].lines[0].get_xdata().astype(float), [0.3] * 3)
    assert "float: 0.300" in {text.get_text() for text in drawn_texts(figure)}
    finite = table["measure"] != "cross-entropy to people"
    endless = doubt_figure(table.assign(value=table["value"].where(finite, np.inf)))
    assert "float" in {text.get_text() for text in drawn_texts(endless)}
