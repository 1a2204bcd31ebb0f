from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.helpers.studies import tiny_runs
from tsnn_uq import data
from tsnn_uq.checks import InputError
from tsnn_uq.coding import pack_spikes
from tsnn_uq.results.predictions import NamedPredictions, Part, Predictions
from tsnn_uq.results.studies import input_pictures, uncertain_inputs


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return tiny_runs(tmp_path_factory.mktemp("comparison"))


def entropy(p):
    return -sum(x * math.log(x) for x in p if x > 0)


@pytest.mark.parametrize("by", ["float", "direct"])
def test_inputs_are_ordered_by_one_methods_uncertainty(runs, by):
    table = uncertain_inputs(runs.predictions(), by=by, count=5)
    means = {method: probs.double().tolist() for method, (probs, _) in runs.predictions().mean_pairs().items()}
    labels = runs.predictions().labels.tolist()
    places = range(len(labels))
    uncertain = sorted(places, key=lambda i: -entropy(means[by][i]))[:5]
    wrong = [i for i in places if int(np.argmax(means[by][i])) != labels[i]]
    wrong = sorted(wrong, key=lambda i: -max(means[by][i]))[:5]
    assert len(table) == 2 * 5 * 2 * 10
    for group, expected in {"uncertain": uncertain, "wrong": wrong}.items():
        part = table[table["group"] == group]
        assert part.drop_duplicates("rank")["input"].tolist() == expected
        for (rank, method), rows in part.groupby(["rank", "method"]):
            place = expected[rank - 1]
            mean = means[method][place]
            assert rows["class"].tolist() == list(range(10))
            assert rows["probability"].tolist() == pytest.approx(mean)
            assert set(rows["predicted"]) == {int(np.argmax(mean))}
            assert rows["predictive_entropy_nats"].iloc[0] == pytest.approx(entropy(mean), abs=1e-6)
            assert set(rows["label"]) == {labels[place]}
    assert set(table["by"]) == {by}


def test_the_first_ternary_method_orders_by_default(runs):
    assert set(uncertain_inputs(runs.predictions(), count=1)["by"]) == {"direct"}
    alone = replace(runs, folders={"float": runs.folders["float"]})
    assert set(uncertain_inputs(alone.predictions(), count=1)["by"]) == {"float"}


def test_fewer_errors_than_asked_for_are_all_there_are():
    probs = torch.tensor([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]])
    labels = torch.tensor([0, 0, 1])
    networks = NamedPredictions({name: Predictions(Part(probs, labels)) for name in ("float", "direct")})
    table = uncertain_inputs(networks, count=3)
    assert table[table["group"] == "wrong"]["input"].unique().tolist() == [1, 2]
    assert table[table["group"] == "uncertain"]["input"].unique().tolist() == [2, 1, 0]
    right = torch.tensor([0, 1, 0])
    networks = NamedPredictions({name: Predictions(Part(probs, right)) for name in ("direct", "float")})
    assert set(uncertain_inputs(networks, count=3)["group"]) == {"uncertain"}


def test_an_image_is_its_own_picture(runs):
    table = uncertain_inputs(runs.predictions(), count=2)
    shown = input_pictures(runs, table)
    assert set(shown) == set(table["input"])
    for place, picture in shown.items():
        assert torch.equal(picture, data.load_test("digits").images[place, 0])


def test_a_recording_is_pictured_by_its_summed_events(runs, monkeypatch, generator):
    spikes = (torch.rand(3, 4, 2, 34, 34, generator=generator) < 0.1).float()
    packed = pack_spikes(spikes.flatten(2))
    recordings = data.EventDataset(packed, torch.zeros(3, dtype=torch.long), "nmnist", 10)
    monkeypatch.setattr(data, "load_test", lambda *_, **__: recordings)
    table = uncertain_inputs(runs.predictions(), count=1).assign(input=2)
    counts = spikes[2].sum((0, 1))
    torch.testing.assert_close(input_pictures(runs, table)[2], counts / counts.max())


def test_bad_options_are_refused(runs):
    with pytest.raises(InputError, match="by: expected one of"):
        uncertain_inputs(runs.predictions(), by="distill")
    with pytest.raises(InputError, match="count: expected a positive whole number"):
        uncertain_inputs(runs.predictions(), count=0)
