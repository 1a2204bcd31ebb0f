from __future__ import annotations

import pytest
import torch

from tests.helpers.studies import tiny_runs
from tsnn_uq import data
from tsnn_uq.checks import InputError
from tsnn_uq.data import EventDataset, apply_shift, load_test
from tsnn_uq.experiments import evaluate, load_network
from tsnn_uq.results.studies import shift_curves, shifted_examples
from tsnn_uq.seeds import generator_for
from tsnn_uq.uncertainty import mc_predict

AMOUNTS = {"rotate": (45, 0), "noise": (0.3,), "blur": (1,)}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return tiny_runs(tmp_path_factory.mktemp("comparison"))


@pytest.fixture(scope="module")
def table(runs):
    return shift_curves(runs, AMOUNTS, bins=7)


def test_each_row_is_measured_on_shifted_images_with_the_runs_own_masks(runs, table):
    dataset = load_test("digits")
    keys = [("rotate", 0), ("rotate", 45), ("noise", 0.3), ("blur", 1)]
    assert list(zip(table["shift"], table["amount"], strict=True)) == keys * 2
    assert table["method"].tolist() == ["float"] * 4 + ["direct"] * 4
    for _, row in table.iterrows():
        images = apply_shift(dataset.images, f"{row['shift']}={row['amount']}")
        network = load_network(runs.folders[row["method"]])
        probs = mc_predict(network, images, samples=2, generator=generator_for(0, "predict", "digits"))
        mean = probs.double().mean(0)
        hits = int((mean.argmax(-1) == dataset.labels).sum())
        assert row["accuracy"] == hits / 360
        assert row["predictive_entropy_nats"] == pytest.approx(float(-(mean * mean.log()).nansum(-1).mean()), abs=1e-6)
        assert row["ece"] == pytest.approx(evaluate(probs, dataset.labels, 7)["ece"])
        z, p = 1.959963984540054, hits / 360
        middle = (p + z * z / 720) / (1 + z * z / 360)
        half = z / (1 + z * z / 360) * (p * (1 - p) / 360 + z * z / (4 * 360**2)) ** 0.5
        assert (row["accuracy_low"], row["accuracy_high"]) == pytest.approx((middle - half, middle + half))
    assert (set(table["inputs"]), set(table["samples"]), set(table["bins"])) == ({360}, {2}, {7})


def test_an_unshifted_point_is_the_runs_own_number(runs, table):
    for method, (probs, labels) in runs.predictions().pairs().items():
        row = table[(table["method"] == method) & (table["amount"] == 0)].iloc[0]
        found = evaluate(probs, labels, 7)
        assert row["accuracy"] == found["accuracy"]
        assert row["predictive_entropy_nats"] == pytest.approx(found["predictive_entropy"], abs=1e-6)


def test_at_most_so_many_inputs_are_drawn(runs):
    few = shift_curves(runs, {"blur": (0,)}, inputs=20)
    assert set(few["inputs"]) == {20}
    assert set(shift_curves(runs, {"blur": (0,)}, inputs=1000)["inputs"]) == {360}


def test_examples_are_of_the_same_images_in_the_same_order(runs):
    dataset = load_test("digits").subset(20)
    examples = shifted_examples(runs, AMOUNTS, inputs=20, index=3)
    assert [*examples] == [(shift, amount) for shift, amounts in AMOUNTS.items() for amount in sorted(amounts)]
    assert torch.equal(examples["rotate", 0], dataset.images[3, 0])
    assert torch.equal(examples["rotate", 45], apply_shift(dataset.images, "rotate=45")[3, 0])
    assert torch.equal(examples["noise", 0.3], apply_shift(dataset.images, "noise=0.3")[3, 0])


def test_what_cannot_be_shifted_is_refused(runs, monkeypatch):
    with pytest.raises(InputError, match="amounts: expected at least one shift"):
        shift_curves(runs, {"blur": ()})
    with pytest.raises(InputError, match="amounts: expected one of"):
        shift_curves(runs, {"rotated": (1,)})
    with pytest.raises(InputError, match="sigma: expected a finite number of at least 0"):
        shift_curves(runs, {"blur": (-1,)})
    with pytest.raises(InputError, match="index: expected 0 to 19"):
        shifted_examples(runs, AMOUNTS, inputs=20, index=20)
    events = EventDataset(torch.zeros(2, 3, 289, dtype=torch.uint8), torch.zeros(2, dtype=torch.long), "nmnist", 10)
    monkeypatch.setattr(data, "load_test", lambda *_, **__: events)
    with pytest.raises(InputError, match="data: expected images, which can be shifted"):
        shift_curves(runs, AMOUNTS)
