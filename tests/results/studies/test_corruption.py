from __future__ import annotations

import pandas as pd
import pytest
import torch

from tests.helpers.studies import tiny_runs
from tsnn_uq.checks import InputError
from tsnn_uq.data import apply_shift, load_test
from tsnn_uq.experiments import load_network, read_predictions
from tsnn_uq.metrics import functional as metrics
from tsnn_uq.recalibration import TemperatureScaling
from tsnn_uq.results.studies import corrupted_examples, corruption_curves, corruption_errors
from tsnn_uq.seeds import generator_for
from tsnn_uq.uncertainty import mc_predict


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return tiny_runs(tmp_path_factory.mktemp("comparison"))


@pytest.fixture(scope="module")
def table(runs):
    return corruption_curves(runs, ("contrast", "stripe"), severities=(5, 1), inputs=50, samples=2, bins=7)


def test_each_row_is_measured_on_the_same_corrupted_images(runs, table):
    dataset = load_test("digits").subset(50)
    keys = [("none", 0), ("contrast", 1), ("contrast", 5), ("stripe", 1)]
    assert list(zip(table["kind"], table["severity"], strict=True)) == keys * 2
    assert table["method"].tolist() == ["float"] * 4 + ["direct"] * 4
    for _, row in table.iterrows():
        kind = row["kind"]
        images = dataset.images if kind == "none" else apply_shift(dataset.images, f"{kind}={row['severity']}")
        network = load_network(runs.folders[row["method"]])
        probs = mc_predict(network, images, samples=2, generator=generator_for(0, "predict", "digits"))
        held_out, labels = read_predictions(runs.folders[row["method"]], "validation")
        scaling = TemperatureScaling().fit(held_out[:2], labels)
        assert row["temperature"] == scaling.temperature
        for prefix, values in (("", probs), ("scaled_", scaling.transform(probs))):
            mean = values.mean(0)
            assert row[f"{prefix}nll"] == pytest.approx(float(metrics.negative_log_likelihood(mean, dataset.labels)))
            ece = metrics.expected_calibration_error(mean, dataset.labels, bins=7)
            assert row[f"{prefix}ece"] == pytest.approx(float(ece))
            assert row[f"{prefix}entropy"] == pytest.approx(float(metrics.predictive_entropy(values)))
        assert row["error"] == pytest.approx(float((probs.mean(0).argmax(-1) != dataset.labels).double().mean()))
    assert (set(table["inputs"]), set(table["samples"]), set(table["bins"])) == ({50}, {2}, {7})


def test_mean_corruption_errors_are_means_of_means():
    rows = [("float", "none", 0, 0.1), ("float", "fog", 1, 0.2), ("float", "fog", 2, 0.4), ("float", "snow", 1, 0.1)]
    rows += [("direct", "none", 0, 0.2), ("direct", "fog", 1, 0.4), ("direct", "fog", 2, 0.5)]
    rows += [("direct", "snow", 1, 0.4)]
    curves = pd.DataFrame(rows, columns=["method", "kind", "severity", "error"])
    one, other = corruption_errors(curves).to_dict("records")
    assert (one["clean_error"], other["clean_error"]) == (0.1, 0.2)
    assert one["mean_corruption_error"] == pytest.approx((0.3 + 0.1) / 2)
    assert other["mean_corruption_error"] == pytest.approx((0.45 + 0.4) / 2)
    assert one["relative_corruption_error"] == pytest.approx(1)
    assert other["relative_corruption_error"] == pytest.approx((0.9 / 0.6 + 4) / 2)
    assert corruption_errors(curves, "direct")["relative_corruption_error"][1] == pytest.approx(1)
    with pytest.raises(InputError, match="baseline: expected one of"):
        corruption_errors(curves, "distill")


def test_examples_are_one_image_of_the_curves_in_each_kind(runs):
    image = load_test("digits").subset(20).images[3:4]
    examples = corrupted_examples(runs, ("fog", "stripe"), inputs=20, index=3)
    assert list(examples) == ["none", "fog", "stripe"]
    assert torch.equal(examples["none"], image[0])
    assert torch.equal(examples["fog"], apply_shift(image, "fog=5")[0])
    assert torch.equal(examples["stripe"], apply_shift(image, "stripe=1")[0])


def test_what_cannot_be_corrupted_is_refused(runs):
    with pytest.raises(InputError, match="kinds: expected one of"):
        corruption_curves(runs, ("frost",))
    with pytest.raises(InputError, match="severities: expected at least one that stripe"):
        corruption_curves(runs, ("stripe",), severities=(2, 3))
    with pytest.raises(InputError, match="samples: expected a positive whole number"):
        corruption_curves(runs, samples=0)
    with pytest.raises(InputError, match="index: expected 0 to 19"):
        corrupted_examples(runs, inputs=20, index=20)
