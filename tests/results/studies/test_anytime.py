from __future__ import annotations

import math
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from tests.helpers.studies import tiny_runs
from tsnn_uq import data
from tsnn_uq.checks import InputError
from tsnn_uq.experiments import evaluate, load_network, predict
from tsnn_uq.metrics.functional import expected_calibration_error
from tsnn_uq.results.studies import anytime_curves
from tsnn_uq.results.studies.anytime import samples_curves, steps_curves

MEASURES = ["accuracy", "predictive_entropy_nats", "ece", "ood_auroc"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return tiny_runs(tmp_path_factory.mktemp("comparison"), samples=5, steps=3, p=0.5)


@pytest.fixture(scope="module")
def table(runs):
    return anytime_curves(runs, outlier="digits:noise=0.5", repeats=4, bins=7)


def predictions(generator, *shape):
    return (2 * torch.randn(*shape, 4, generator=generator)).softmax(-1)


def entropy(mean):
    return -sum(p * math.log(p) for p in mean if p > 0)


def by_loops(samples, target, foreign, bins):
    """The measures of the mean of a list of samples, each [N, C] as lists, from their definitions."""
    means, outside = (
        [[sum(column) / len(column) for column in zip(*rows, strict=True)] for rows in zip(*p, strict=True)]
        for p in (samples, foreign)
    )
    scores = [entropy(mean) for mean in means], [entropy(mean) for mean in outside]
    return {
        "accuracy": sum(mean.index(max(mean)) == y for mean, y in zip(means, target, strict=True)) / len(target),
        "predictive_entropy_nats": sum(scores[0]) / len(target),
        "ece": float(
            expected_calibration_error(torch.tensor(means, dtype=torch.float64), torch.tensor(target), bins=bins)
        ),
        "ood_auroc": roc_auc_score([0] * len(scores[0]) + [1] * len(scores[1]), scores[0] + scores[1]),
    }


def test_samples_curves_average_nested_subsets(generator):
    probs, foreign = predictions(generator, 6, 20).double(), predictions(generator, 6, 9).double()
    target = torch.randint(4, (20,), generator=generator)
    seeded = torch.Generator().manual_seed(3)
    curves = samples_curves(probs, target, foreign, generator=seeded, repeats=3, bins=5)
    assert (curves["against"], curves["samples"]) == ("samples", [1, 2, 4, 6])

    again = torch.Generator().manual_seed(3)
    orders = [torch.randperm(6, generator=again).tolist() for _ in range(3)]
    for place, count in enumerate([1, 2, 4, 6]):
        found = []
        for order in orders:
            inside, outside = (p[order[:count]].tolist() for p in (probs, foreign))
            found.append(by_loops(inside, target.tolist(), outside, 5))
        for name in MEASURES:
            values = [one[name] for one in found]
            assert curves[name][place] == pytest.approx(np.mean(values), abs=1e-9)
            assert curves[f"{name}_sd"][place] == pytest.approx(np.std(values, ddof=1), abs=1e-9)
    assert curves["predictive_entropy_nats_sd"][0] > 0.001
    assert [curves[f"{name}_sd"][-1] for name in MEASURES] == pytest.approx([0] * 4, abs=1e-12)


def test_steps_curves_take_the_mean_of_all_samples_after_each_step(generator):
    probs, foreign = predictions(generator, 3, 4, 20).double(), predictions(generator, 3, 4, 9).double()
    target = torch.randint(4, (20,), generator=generator)
    curves = steps_curves(probs, target, foreign, bins=5)
    assert curves["steps"] == [1, 2, 3, 4]
    for step in range(4):
        expected = by_loops(probs[:, step].tolist(), target.tolist(), foreign[:, step].tolist(), 5)
        assert {name: curves[name][step] for name in MEASURES} == pytest.approx(expected, abs=1e-9)
        assert math.isnan(curves["accuracy_sd"])


def test_of_many_steps_some_are_measured(generator):
    probs = predictions(generator, 2, 20, 3)
    curves = steps_curves(probs, torch.tensor([0, 1, 2]))
    assert curves["steps"] == [1, 2, 4, 8, 16, 20]
    assert "ood_auroc" not in curves
    single = steps_curves(probs[:, 7:8], torch.tensor([0, 1, 2]))
    assert curves["predictive_entropy_nats"][3] == single["predictive_entropy_nats"][0]


def test_there_is_a_row_for_each_method_mask_and_amount(table):
    keys = list(zip(*(table[name] for name in ("method", "mask", "against", "samples", "steps")), strict=True))
    amounts = [*(("samples", s, 3) for s in (1, 2, 4, 5)), *(("steps", 5, t) for t in (1, 2, 3))]
    assert keys == [
        (*names, *amount) for *names, amount in product(["float", "direct"], ["fixed", "per-step"], amounts)
    ]
    assert set(table["inputs"]) == {360}
    assert set(table["bins"]) == {7}
    assert table[MEASURES].notna().all().all()


def test_with_all_samples_and_steps_the_curves_end_at_the_runs_own_numbers(runs, table):
    foreign = data.load_test("digits:noise=0.5")
    for method, (probs, labels) in runs.predictions().pairs().items():
        row = evaluate(probs, labels, bins=7)
        outside = predict(load_network(runs.folders[method]), foreign, samples=5, seed=0)
        scores = [entropy(mean) for p in (probs, outside) for mean in p.double().mean(0).tolist()]
        auroc = roc_auc_score([0] * len(labels) + [1] * len(foreign), scores)
        own = table[(table["method"] == method) & (table["mask"] == "fixed")]  # as the runs were trained
        for _, last in own[(own["samples"] == 5) & (own["steps"] == 3)].iterrows():
            assert last["accuracy"] == row["accuracy"]
            assert last["predictive_entropy_nats"] == pytest.approx(row["predictive_entropy"], abs=1e-6)
            assert last["ece"] == pytest.approx(row["ece"], abs=1e-6)
            assert last["ood_auroc"] == pytest.approx(auroc, abs=1e-4)


def test_masks_differ_after_the_first_step_and_not_before(table):
    steps = table[table["against"] == "steps"].pivot_table(
        index=["method", "steps"], columns="mask", values="predictive_entropy_nats"
    )
    gap = (steps["fixed"] - steps["per-step"]).abs().unstack()
    assert (gap[1] < 1e-6).all()
    assert (gap[3] > 1e-6).all()


def test_a_subset_and_one_mask_mode_repeat(runs):
    first, second = (anytime_curves(runs, masks=["per-step"], inputs=30, repeats=2) for _ in range(2))
    assert first.equals(second)
    assert set(first["mask"]) == {"per-step"}
    assert set(first["inputs"]) == {30}
    assert "ood_auroc" not in first


def test_bad_options_are_refused(runs, tmp_path):
    with pytest.raises(InputError, match="masks: expected one of"):
        anytime_curves(runs, masks=["step"])
    with pytest.raises(InputError, match="masks: expected at least one mask mode"):
        anytime_curves(runs, masks=[])
    with pytest.raises(InputError, match="repeats: expected at least 2"):
        anytime_curves(runs, repeats=1)
    with pytest.raises(InputError, match="inputs: expected a positive whole number"):
        anytime_curves(runs, inputs=-1)


def test_outliers_of_another_shape_are_refused(runs, monkeypatch):
    small, load = data.Dataset(torch.rand(3, 1, 9, 9), torch.zeros(3, dtype=torch.long), "large", 10), data.load_test
    monkeypatch.setattr(data, "load_test", lambda name, *a, **k: small if name == "large" else load(name, *a, **k))
    with pytest.raises(InputError, match=r"outlier: expected inputs of shape \[1, 8, 8\]"):
        anytime_curves(runs, outlier="large")


def test_predictions_that_do_not_fit_are_refused_before_any_is_made(runs, monkeypatch):
    monkeypatch.setattr("tsnn_uq.results.studies.anytime._LARGEST", 4 * 5 * 3 * 10 * 100)
    with pytest.raises(InputError, match="inputs: expected at most 100"):
        anytime_curves(runs)


def test_runs_that_cannot_be_compared_are_refused(runs, tmp_path):
    others = tiny_runs(tmp_path, methods=("float",), samples=4, steps=3)
    mixed = replace(runs, folders=runs.folders | {"float": others.folders["float"]})
    with pytest.raises(InputError, match="one value of samples to compare methods at"):
        anytime_curves(mixed)
