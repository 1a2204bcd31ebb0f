"""Differences in pairs against brute force: means by loops, resamples by numpy and scipy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.stats import binomtest

from tsnn_uq.checks import InputError
from tsnn_uq.metrics import functional as metrics
from tsnn_uq.results.measure_predictions import after_temperature, evaluate
from tsnn_uq.results.paired_differences import _measured, _prepared, mcnemar_tests, paired_differences, result_rows
from tsnn_uq.results.predictions import NamedPredictions, Part, Predictions
from tsnn_uq.results.tables import summarize

S, N, C = 3, 60, 4
MEASURES = [
    "accuracy",
    "nll",
    "brier",
    "predictive_entropy",
    "mutual_information",
    "predictive_variance",
    "ece",
    "aurc",
]


def drawn(seed, sharp, count=N):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(C, (count,), generator=torch.Generator().manual_seed(count))
    logits = sharp * torch.nn.functional.one_hot(labels, C) + torch.randn(S, count, C, generator=generator)
    return Part(logits.double().softmax(-1), labels)


@pytest.fixture(scope="module")
def networks():
    members = {
        "plain": [Predictions(drawn(seed, 1.5), drawn(9 + seed, 1.5, 50)) for seed in range(2)],
        "small": [Predictions(drawn(seed, 0.7), costs={"storage_bytes": 100.0}) for seed in (5, 6, 7)],
    }
    return NamedPredictions(members, seed=3)


def test_differences_are_those_of_the_measures(networks):
    table = paired_differences(networks, resamples=50, bins=7).set_index("measure")
    assert list(table.index) == MEASURES
    means = {
        name: {key: np.mean([evaluate(*one.test.pair, 7)[key] for one in of]) for key in MEASURES[:-1]}
        for name, of in networks.members.items()
    }
    for key in MEASURES[:-1]:
        assert table.loc[key, "difference"] == pytest.approx(means["small"][key] - means["plain"][key], abs=1e-7)
    assert (table["low"] <= table["difference"]).all()
    assert (table["difference"] <= table["high"]).all()
    assert (set(table["method"]), set(table["reference"]), set(table["seeds"])) == ({"small"}, {"plain"}, {3})
    turned = paired_differences(NamedPredictions(networks.members, "small", seed=3), resamples=50, bins=7)
    np.testing.assert_allclose(turned["difference"], -table["difference"], atol=1e-12)
    np.testing.assert_allclose(turned["low"], -table["high"], atol=1e-12)


def test_a_resample_is_measured_as_the_test_set_that_it_makes(networks):
    probs, labels = networks.members["small"][0].test.pair
    coarse = (3 * probs[:1]).ceil()  # many equal entropies
    probs = coarse / coarse.sum(-1, keepdim=True)
    one = Predictions(Part(probs, labels))
    rows = torch.randint(N, (N,), generator=torch.Generator().manual_seed(0))
    weights = torch.bincount(rows, minlength=N).double()[None]
    found = dict(zip(MEASURES, _measured([_prepared(one, 7)], weights)[0].tolist(), strict=True))
    expected = evaluate(probs[:, rows], labels[rows], 7)
    for key in MEASURES[:-1]:
        if key != "nll":
            assert found[key] == pytest.approx(expected[key], abs=1e-9), key
    entropy = metrics.predictive_entropy(probs[:, rows], reduction="none")
    assert len(entropy.unique()) < len(rows.unique())
    right = probs[:, rows].mean(0).argmax(-1) == labels[rows]
    assert found["aurc"] == pytest.approx(float(metrics.aurc(entropy, right)))


def test_intervals_are_percentiles_of_paired_resamples(networks):
    table = paired_differences(networks, resamples=1000).set_index("measure")
    right = {
        name: np.mean([(one.test.probs.mean(0).argmax(-1) == one.test.labels).numpy() for one in of], axis=0)
        for name, of in networks.members.items()
    }
    each = right["small"] - right["plain"]
    rng = np.random.default_rng(0)
    draws = [each[rng.integers(0, N, N)].mean() for _ in range(20000)]
    low, high = np.quantile(draws, [0.025, 0.975])
    slack = 0.1 * (high - low)
    assert (table.loc["accuracy", "low"], table.loc["accuracy", "high"]) == pytest.approx((low, high), abs=slack)


def test_an_infinite_loss_has_no_interval():
    labels = torch.tensor([0, 1, 1])
    sure = Part(torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]), labels)
    networks = NamedPredictions({"a": Predictions(sure), "b": Predictions(Part(torch.full((3, 2), 0.5), labels))})
    table = paired_differences(networks, resamples=10).set_index("measure")
    assert table.loc["nll", ["difference", "low", "high"]].isna().all()
    assert table.drop("nll")[["difference", "low", "high"]].notna().all(axis=None)


def test_mcnemar_counts_seed_by_seed(networks):
    table = mcnemar_tests(networks)
    assert table["seed"].tolist() == [0, 1]  # the third has no partner
    for seed, row in table.iterrows():
        right = [
            (networks.members[name][seed].test.probs.mean(0).argmax(-1) == networks.labels).tolist()
            for name in ("plain", "small")
        ]
        alone = [sum(a and not b for a, b in zip(*pair, strict=True)) for pair in (right, right[::-1])]
        assert [row["only_reference"], row["only_method"]] == alone
        assert row["p_value"] == pytest.approx(binomtest(alone[0], sum(alone)).pvalue)


def test_one_network_has_nothing_to_differ_from(networks):
    for function in (paired_differences, mcnemar_tests):
        with pytest.raises(InputError, match="at least two to compare"):
            function(networks.select(["small"]))


def test_rows_are_those_that_summaries_take(networks):
    rows = result_rows(networks, bins=7)
    names = [(row["method"], row["seed"]) for row in rows]
    assert names == [("plain", 0), ("plain", 1), *(("small", seed) for seed in range(3))]
    one = networks.members["plain"][1]
    expected = evaluate(*one.test.pair, 7) | after_temperature(one.validation.pair, *one.test.pair, 7)
    assert rows[1].items() >= expected.items()
    assert math.isnan(rows[1]["storage_bytes"])
    assert rows[2]["storage_bytes"] == 100
    summary = summarize(rows).set_index("method")
    assert summary.loc["plain", "seeds"] == 2
    mean = 100 * np.mean([row["accuracy"] for row in rows[2:]])
    assert summary.loc["small", "accuracy_pct_mean"] == pytest.approx(mean)
