from __future__ import annotations

import pytest
import torch

from tests.helpers.studies import tiny_runs
from tsnn_uq import data
from tsnn_uq.checks import InputError
from tsnn_uq.experiments import load_network, predict
from tsnn_uq.results.studies import foreign_predictions


def test_predictions_are_those_of_each_run(tmp_path):
    runs = tiny_runs(tmp_path, samples=3)
    found = foreign_predictions(runs, "digits:rotate=90")
    assert list(found) == ["float", "direct"]
    dataset = data.load_test("digits:rotate=90")
    for method, folder in runs.folders.items():
        assert torch.equal(found[method], predict(load_network(folder), dataset, samples=3, seed=0))
    with pytest.raises(InputError, match="expected"):
        foreign_predictions(runs, "nothing")
