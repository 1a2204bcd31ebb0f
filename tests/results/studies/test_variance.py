from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import bootstrap

from tests.helpers.studies import tiny_runs
from tsnn_uq.checks import InputError
from tsnn_uq.data import load
from tsnn_uq.experiments import load_network, predict
from tsnn_uq.recalibration import TemperatureScaling
from tsnn_uq.results.predictions import NamedPredictions, Part, Predictions
from tsnn_uq.results.studies import paired_variances
from tsnn_uq.results.studies.variance import variance_rows


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return tiny_runs(tmp_path_factory.mktemp("comparison"), samples=4, p=0.5)


def variance(samples):
    """Over a list of samples, each a list over classes, from the definition."""
    means = [sum(column) / len(column) for column in zip(*samples, strict=True)]
    return sum((p - mean) ** 2 for sample in samples for p, mean in zip(sample, means, strict=True)) / len(samples)


def test_rows_follow_the_definition(generator):
    first, second = ((3 * torch.randn(5, 30, 4, generator=generator).double()).softmax(-1) for _ in range(2))
    labels = torch.randint(4, (30,), generator=generator)
    labels[:20] = first.mean(0).argmax(-1)[:20]  # or hardly any were right
    rows = variance_rows(first, second, labels, resamples=3000, seed=1)
    table = [dict(zip(rows, values, strict=True)) for values in zip(*rows.values(), strict=True)]
    each = [[variance(probs[:, i].tolist()) for i in range(30)] for probs in (first, second)]
    right = [[int(probs.mean(0)[i].argmax()) == labels[i] for i in range(30)] for probs in (first, second)]

    groups = {("all", None): list(range(30))}
    groups |= {("both right", None): [i for i in range(30) if right[0][i] and right[1][i]]}
    groups |= {("any wrong", None): [i for i in range(30) if not (right[0][i] and right[1][i])]}
    groups |= {("class", c): [i for i in range(30) if labels[i] == c] for c in range(4)}
    assert [(row["of"], row["label"]) for row in table[:7]] == list(groups)
    for row, chosen in zip(table, groups.values(), strict=False):
        float_, ternary = (np.array([values[i] for i in chosen]) for values in each)
        assert row["inputs"] == len(chosen) > 0
        assert (row["variance_reference"], row["variance"]) == pytest.approx((float_.mean(), ternary.mean()))
        assert row["accuracy_reference"] == pytest.approx(np.mean([float(right[0][i]) for i in chosen]))
        assert row["accuracy"] == pytest.approx(np.mean([float(right[1][i]) for i in chosen]))
        assert row["difference"] == pytest.approx((ternary - float_).mean())
        options = {"n_resamples": 3000, "method": "percentile", "rng": np.random.default_rng(0)}
        interval = bootstrap([ternary - float_], np.mean, **options).confidence_interval
        slack = 0.1 * (interval.high - interval.low)
        assert (row["low"], row["high"]) == pytest.approx((interval.low, interval.high), abs=slack)
    for i, row in enumerate(table[7:]):
        assert (row["of"], row["input"], row["label"], row["inputs"]) == ("input", i, labels[i], 1)
        assert (row["variance_reference"], row["variance"]) == pytest.approx((each[0][i], each[1][i]))
        assert row["difference"] == pytest.approx(each[1][i] - each[0][i])
        assert (row["accuracy_reference"], row["accuracy"]) == (right[0][i], right[1][i])
        assert row["low"] is row["high"] is None
    assert len(table) == 7 + 30


def test_all_right_is_no_group_of_wrong_ones():
    probs = torch.eye(3)[None].repeat(2, 1, 1)
    rows = variance_rows(probs, probs, torch.arange(3), resamples=10, seed=0)
    assert rows["of"] == ["all", "both right", *["class"] * 3, *["input"] * 3]
    assert set(rows["difference"]) == {0}


def test_the_table_is_of_the_stored_predictions(runs):
    table = paired_variances(runs.predictions(), resamples=100)
    predictions = runs.predictions().pairs()
    singles = table[table["of"] == "input"]
    for column, method in (("variance_reference", "float"), ("variance", "direct")):
        expected = predictions[method][0].double().var(0, correction=0).sum(-1)
        np.testing.assert_allclose(singles[column], expected, rtol=1e-6)
    assert singles["label"].tolist() == predictions["float"][1].tolist()
    assert set(table["method"]) == {"direct"}
    assert (set(table["samples"]), set(table["noise"])) == ({4}, {"MC dropout"})
    assert set(table["temperature_reference"]) == set(table["temperature"]) == {1.0}
    assert table.equals(paired_variances(runs.predictions(), resamples=100))
    other = paired_variances(runs.predictions(), resamples=100, seed=1)
    assert not table["low"].equals(other["low"])
    assert table["difference"].equals(other["difference"])


def test_temperatures_are_fitted_on_the_validation_split(runs):
    table = paired_variances(runs.predictions(), recalibrate=True, resamples=100)
    held_out = load("digits").validation
    for column, method in (("_reference", "float"), ("", "direct")):
        probs = predict(load_network(runs.folders[method]), held_out, samples=4, seed=0)
        temperature = TemperatureScaling().fit(probs, held_out.labels).temperature
        assert set(table[f"temperature{column}"]) == {temperature}
        logits = runs.predictions().pairs()[method][0].double().log() / temperature
        expected = logits.softmax(-1).var(0, correction=0).sum(-1)
        singles = table[table["of"] == "input"]
        np.testing.assert_allclose(singles[f"variance{column}"], expected, rtol=1e-4, atol=1e-9)


def test_a_network_without_a_temperature_is_named(runs):
    """One that is never wrong on its validation part."""
    sure = Part(torch.tensor([[0.9, 0.1], [0.2, 0.8]]).repeat(2, 1, 1), torch.tensor([0, 1]))
    networks = NamedPredictions({name: Predictions(sure, sure) for name in ("float", "direct")})
    with pytest.raises(InputError, match="of float, which end at the lower bound"):
        paired_variances(networks, recalibrate=True, resamples=10)
    with pytest.raises(InputError, match="validation: expected"):
        paired_variances(NamedPredictions({"a": Predictions(sure), "b": Predictions(sure)}), recalibrate=True)


def test_dropconnect_is_named(tmp_path):
    runs = tiny_runs(tmp_path, family="dropconnect")
    assert set(paired_variances(runs.predictions(), resamples=10)["noise"]) == {"MC dropconnect"}


def test_networks_that_cannot_be_compared_are_refused(runs):
    networks = runs.predictions()
    with pytest.raises(InputError, match="at least two to compare"):
        paired_variances(networks.select(["direct"]))
    of = networks.first()["direct"]
    fewer = Predictions(Part(of.test.probs[:2], of.test.labels))
    with pytest.raises(InputError, match="samples: expected the same number"):
        paired_variances(NamedPredictions({"float": networks.first()["float"], "direct": fewer}))


def test_any_name_may_be_the_reference(runs):
    members = runs.predictions().members
    turned = NamedPredictions({"ours": members["direct"], "theirs": members["float"]}, reference="theirs")
    ours, table = paired_variances(turned, resamples=50), paired_variances(runs.predictions(), resamples=50)
    assert (set(ours["method"]), set(ours["reference"])) == ({"ours"}, {"theirs"})
    columns = [name for name in table if name not in ("method", "reference", "noise")]
    assert ours[columns].equals(table[columns])
