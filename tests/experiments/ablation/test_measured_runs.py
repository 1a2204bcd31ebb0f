"""Each number of a row is what an independent implementation makes of the same predictions."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar
from sklearn.metrics import roc_auc_score

from tests.helpers.experiments import tiny
from tsnn_uq.experiments import run
from tsnn_uq.experiments.ablation.measured_runs import measure_run
from tsnn_uq.results.measure_predictions import measure_predictions
from tsnn_uq.results.predictions import Part, Predictions


def drawn(count, seed, *, sharp=2.0):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(4, (count,), generator=generator)
    logits = sharp * torch.nn.functional.one_hot(labels, 4) + 1.5 * torch.randn(5, count, 4, generator=generator)
    return logits.softmax(-1), labels


@pytest.fixture(scope="module")
def predictions():
    return Predictions(Part(*drawn(400, 1)), Part(*drawn(300, 0)), {"far": Part(drawn(200, 2, sharp=0.0)[0])})


@pytest.fixture(scope="module")
def rows(predictions):
    return measure_predictions(predictions)


def scaled(probs, temperature):
    powers = probs.double().numpy() ** (1 / temperature)
    return powers / powers.sum(-1, keepdims=True)


def entropy(probs):
    mean = probs.mean(0)
    return -(mean * np.log(mean)).sum(-1)


def test_the_temperature_is_that_of_the_mean_prediction_on_the_validation_part(predictions, rows):
    probs, labels = predictions.validation.pair

    def loss(log_temperature):
        mean = scaled(probs, np.exp(log_temperature)).mean(0)
        return -np.log(mean[np.arange(len(labels)), labels.numpy()]).mean()

    best = np.exp(minimize_scalar(loss, bounds=(-3, 3), method="bounded", options={"xatol": 1e-10}).x)
    assert [row["calibration"] for row in rows] == ["none", "temperature"]
    assert rows[0]["temperature"] == 1
    assert rows[1]["temperature"] == pytest.approx(best, rel=1e-4)
    assert rows[1]["validation_nll"] == pytest.approx(loss(np.log(best)), rel=1e-6)


def test_nothing_is_measured_at_a_temperature_that_ended_at_a_bound(predictions, rows):
    one = predictions.validation.probs[:1]
    none, temperature = measure_predictions(replace(predictions, validation=Part(one, one[0].argmax(-1))))
    assert (temperature.pop("temperature"), temperature.pop("temperature_outcome")) == (0.01, "lower bound")
    assert temperature.pop("calibration") == "temperature"
    assert set(temperature.values()) == {None}
    assert [row["temperature_outcome"] for row in (none, *rows)] == ["none", "none", "optimum"]
    assert none.keys() == {"calibration", "temperature", "temperature_outcome", *temperature}
    assert none["nll"] == rows[0]["nll"]


@pytest.mark.parametrize("which", [0, 1])
def test_variance_is_split_by_whether_the_mean_prediction_is_right(predictions, rows, which):
    row, (probs, labels) = rows[which], predictions.test.pair
    samples = scaled(probs, row["temperature"])
    variance = samples.var(0, ddof=0).sum(-1)
    right = samples.mean(0).argmax(-1) == labels.numpy()
    ratio = row["predictive_variance"] / variance.mean()  # whichever normalization the metric has
    assert row["predictive_variance_correct"] == pytest.approx(ratio * variance[right].mean(), rel=1e-5)
    assert row["predictive_variance_wrong"] == pytest.approx(ratio * variance[~right].mean(), rel=1e-5)
    assert row["accuracy"] == pytest.approx(right.mean())


@pytest.mark.parametrize("which", [0, 1])
def test_foreign_inputs_are_told_by_entropy(predictions, rows, which):
    row = rows[which]
    known = entropy(scaled(predictions.test.probs, row["temperature"]))
    unknown = entropy(scaled(predictions.foreign["far"].probs, row["temperature"]))
    truth = np.r_[np.zeros(len(known)), np.ones(len(unknown))]
    assert row["ood_auroc_far"] == pytest.approx(roc_auc_score(truth, np.r_[known, unknown]), abs=1e-6)
    caught = np.sort(unknown)[int(np.floor(0.05 * len(unknown)))]
    assert row["ood_fpr95_far"] == pytest.approx((known >= caught).mean(), abs=0.01)


def test_the_area_under_the_risk_coverage_curve_ranks_by_entropy(predictions, rows):
    probs, labels = predictions.test.pair
    order = np.argsort(entropy(probs.double().numpy()), kind="stable")
    errors = (probs.mean(0).argmax(-1) != labels).numpy()[order].cumsum()
    assert rows[0]["aurc"] == pytest.approx((errors / np.arange(1, len(errors) + 1)).mean(), rel=1e-6)


@pytest.mark.parametrize("method", ["float", "direct"])
def test_a_run_is_measured_from_what_lies_in_its_folder(tmp_path, method):
    config = tiny(method=method)
    result = run(config, tmp_path)
    none, temperature = measure_run(config, tmp_path / config.name, {"rotated": "digits:rotate=90"})
    assert none["accuracy"] == result["accuracy"]
    assert none["predictive_entropy"] == result["predictive_entropy"]
    assert 0 < none["ood_auroc_rotated"] < 1
    assert temperature["validation_nll"] <= none["validation_nll"]
