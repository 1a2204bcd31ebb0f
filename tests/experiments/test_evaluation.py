from __future__ import annotations

import shutil

import pytest
import torch
from sklearn.metrics import roc_auc_score

from tests.helpers.events import write_nmnist
from tests.helpers.experiments import tiny
from tsnn_uq import data
from tsnn_uq.checks import InputError
from tsnn_uq.data import Dataset
from tsnn_uq.experiments import Context, load_network, predict, run
from tsnn_uq.experiments.evaluation import detection, evaluate_run

CONFIG = tiny(seed=1, p=0.5)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    runs = tmp_path_factory.mktemp("runs")
    run(CONFIG, runs)
    return runs / CONFIG.name


@pytest.fixture
def foreign(monkeypatch):
    """A data set "noise" of 8 x 8 pixels, and one "large" of 9 x 9."""
    load_test, generator = data.load_test, torch.Generator().manual_seed(0)
    images = {"noise": torch.rand(40, 1, 8, 8, generator=generator), "large": torch.rand(3, 1, 9, 9)}

    def load(name, data_dir=None, *, seed=0, **options):
        if name not in images:
            return load_test(name, data_dir, seed=seed, **options)
        return Dataset(images[name], torch.zeros(len(images[name]), dtype=torch.long), name, 10)

    monkeypatch.setattr(data, "load_test", load)


def test_the_runs_own_data_give_its_row_again(folder):
    row = run(CONFIG, folder.parent)
    values = evaluate_run(folder)
    assert (values.pop("data"), values.pop("inputs")) == ("digits", 360)
    assert values == {name: row[name] for name in values}


def test_samples_and_seed_are_as_given(folder):
    own, more, other = evaluate_run(folder), evaluate_run(folder, samples=5), evaluate_run(folder, seed=2)
    assert (own["samples"], more["samples"], other["samples"]) == (2, 5, 2)
    assert len({values["nll"] for values in (own, more, other)}) == 3
    assert evaluate_run(folder, seed=1) == own
    with pytest.raises(InputError, match="samples: expected a positive whole number"):
        evaluate_run(folder, samples=0)


def test_the_engine_gives_the_same(folder):
    """From the same masks; float sums in another order may decide a spike in a thousand otherwise."""
    own, engine = evaluate_run(folder), evaluate_run(folder, engine=True)
    assert own.pop("data") == engine.pop("data")
    assert engine["accuracy"] == own["accuracy"]
    assert engine == pytest.approx(own, rel=1e-3)


def test_shifted_data_keep_their_labels(folder):
    clean, noisy = evaluate_run(folder), evaluate_run(folder, "digits:noise=2")
    assert noisy["data"] == "digits:noise=2"
    assert noisy.keys() == clean.keys()
    assert noisy["nll"] > clean["nll"]  # which labels went with the images still matters
    assert evaluate_run(folder, "digits:noise=2") == noisy


def test_foreign_data_are_detected_not_scored(folder, foreign):
    calls = []
    values = evaluate_run(folder, "noise", context=Context(progress=lambda name, *call: calls.append(call)))
    assert {name for name in values if "(" not in name} == {
        *("data", "inputs", "samples", "steps", "predictive_entropy", "normalized_entropy", "expected_entropy"),
        *("mutual_information", "predictive_variance", "predictive_std"),
    }
    assert values["inputs"] == 40
    assert calls == [("predict", 40, 40)]
    network = load_network(folder)
    inside, outside = (
        predict(network, data.load_test(name), samples=CONFIG.samples, seed=CONFIG.seed) for name in ("digits", "noise")
    )
    detected = {name: value for name, value in values.items() if "(" in name}
    assert detected == detection(inside, outside) != detection(outside, inside)


def test_a_run_that_comes_without_its_predictions_is_predicted_anew(folder, foreign, tmp_path):
    copy = shutil.copytree(folder, tmp_path / folder.name)
    (copy / "predictions.safetensors").unlink()
    assert evaluate_run(copy, "noise") == evaluate_run(folder, "noise")


def test_detection_is_the_area_under_the_curve_of_each_score(generator):
    inside, outside = (torch.randn(4, n, 3, generator=generator, dtype=torch.float64).softmax(-1) for n in (30, 20))

    def entropies(probs):
        total = torch.special.entr(probs.mean(0)).sum(-1)
        return {"predictive_entropy": total, "mutual_information": total - torch.special.entr(probs).sum(-1).mean(0)}

    values = detection(inside, outside)
    for name, own in entropies(inside).items():
        theirs = entropies(outside)[name]
        scores = torch.cat([own, theirs])
        assert values[f"ood_auroc ({name})"] == pytest.approx(roc_auc_score([0] * 30 + [1] * 20, scores))
        caught = theirs.sort(descending=True).values[18]  # 19 of 20 are at least that uncertain
        assert values[f"ood_fpr95 ({name})"] == pytest.approx((own >= caught).double().mean().item())


def test_bad_calls_are_refused(folder, foreign, tmp_path):
    with pytest.raises(InputError, match=r"data: expected inputs of shape \[1, 8, 8\]"):
        evaluate_run(folder, "large")
    with pytest.raises(InputError, match="data set: expected one of"):
        evaluate_run(folder, "digit")
    with pytest.raises(InputError, match="expected the folder of a finished"):
        evaluate_run(tmp_path)


def test_the_engine_names_the_layer_of_an_event_network_that_it_does_not_know(tmp_path):
    write_nmnist(tmp_path / "nmnist", train=12, test=2)
    config = tiny(family="slayer", data="nmnist", coding="events", steps=20, bin_ms=15.0, train_limit=0)
    run(config, tmp_path / "runs", Context(tmp_path))
    folder = tmp_path / "runs" / config.name
    assert evaluate_run(folder, context=Context(tmp_path))["inputs"] == 20
    with pytest.raises(InputError, match="network: expected layers that the engine knows"):
        evaluate_run(folder, engine=True, context=Context(tmp_path))
