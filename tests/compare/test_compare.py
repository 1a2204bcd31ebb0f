from __future__ import annotations

import runpy
from pathlib import Path

import pandas as pd
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from tests.helpers.peers import PEERS, library, peer
from tests.helpers.training import Items, images, mlp
from tsnn_uq.bayes import Ensemble
from tsnn_uq.checks import InputError
from tsnn_uq.compare import Comparison, compare_networks
from tsnn_uq.cost import cost, count_layers
from tsnn_uq.results.paired_differences import paired_differences, result_rows
from tsnn_uq.results.studies import read_named
from tsnn_uq.uncertainty import mc_predict

SCRIPT = Path(__file__).with_name("spikingjelly_network.py")


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(5)


def plain(seed: int = 0) -> nn.Module:
    """Nothing in it is random."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Flatten(), nn.Linear(16, 3))


@pytest.mark.slow
def test_a_short_script_with_somebody_elses_network_makes_everything(tmp_path, monkeypatch):
    library("spikingjelly")
    monkeypatch.chdir(tmp_path)
    assert len(SCRIPT.read_text().splitlines()) < 40
    comparison = runpy.run_path(str(SCRIPT))["comparison"]
    assert list(comparison.networks) == ["float", "post-training", "direct"]
    assert not {"costs", "features"} & {what.partition(" of ")[0] for what in comparison.left_out}
    assert set(comparison.left_out) <= {"People's doubts", "Variance at fitted temperatures"}  # where none is found
    results = comparison.tables["results"].set_index("method")
    assert results["accuracy"].min() > 0.6
    assert results["mutual_information"].min() > 0
    assert results["storage_bytes"]["direct"] < results["storage_bytes"]["float"]
    assert (tmp_path / "mine" / "report.html").stat().st_size > 100_000
    drawn = {path.stem for path in (tmp_path / "mine" / "figures").glob("*.png")}
    assert len(drawn) == len(comparison.figures)
    assert {"Detection-of-noise", "Stopping-early", "The-most-uncertain-inputs"} < drawn
    html = comparison._repr_html_()
    assert html.count("<table") == 3
    assert html.count("<h4>") == 3 + len(drawn) + 1
    again = read_named({name: [str(tmp_path / "mine" / f"{name}.safetensors")] for name in comparison.networks})
    pd.testing.assert_frame_equal(pd.DataFrame(result_rows(again)), comparison.tables["results"], check_exact=True)
    pd.testing.assert_frame_equal(paired_differences(again), comparison.tables["differences"], check_exact=True)


@pytest.mark.parametrize("name", PEERS)
def test_predictions_are_those_of_mc_predict(name):
    network, x, options = peer(name, 0.3)
    found = compare_networks({"mine": network}, test=(x, torch.arange(6) % 3), samples=4, generator=seeded(), **options)
    expected = mc_predict(network, x, samples=4, generator=seeded(), per_step=True, **options)
    (mine,) = found.predictions.members["mine"]
    assert torch.equal(mine.test.over_time, expected)
    assert list(found.tables) == ["results"]


def test_ensembles_posteriors_and_networks_without_randomness():
    x, y = images(12)
    several = [plain(seed) for seed in range(3)]
    networks = {
        "one": plain(),
        "three": nn.ModuleList(several),
        "dropout": mlp().eval(),
        "posterior": Ensemble(several),
    }
    networks["posterior"] = Ensemble(several)
    done = []
    found = compare_networks(
        networks, test=(x, y), samples=4, generator=seeded(), progress=lambda *now: done.append(now)
    )
    assert done == [(name, number, 4) for number, name in enumerate(networks)]
    shapes = {name: list(of[0].test.probs.shape) for name, of in found.predictions.members.items()}
    assert shapes == {"one": [1, 12, 3], "three": [3, 12, 3], "dropout": [4, 12, 3], "posterior": [4, 12, 3]}
    torch.testing.assert_close(found.predictions.members["one"][0].test.probs[0], plain()(x).softmax(-1).detach())
    price = cost(count_layers(plain(), x), steps=1)
    assert found.predictions.members["three"][0].costs["storage_bytes"] == 3 * price.storage_bytes
    assert found.predictions.members["posterior"][0].costs["energy_pj"] == price.energy_pj


class Changing(Items):
    """Items that are others each time."""

    def __getitem__(self, index):
        self.inputs = self.inputs + 1
        return super().__getitem__(index)


def test_data_may_come_in_any_form_and_in_one_order():
    x, y = images(12)
    networks = {"one": plain(), "two": plain(1)}
    forms = [(x, y), TensorDataset(x, y), DataLoader(TensorDataset(x, y), 5)]
    tables = [compare_networks(networks, test=form, validation=form).tables["results"] for form in forms]
    for table in tables[1:]:
        pd.testing.assert_frame_equal(table, tables[0], check_exact=True)
    with pytest.raises(InputError, match="same inputs in the same order"):
        compare_networks(networks, test=Changing(x, y))


def test_labels_of_foreign_sets_may_be_of_other_classes_and_inputs_are_shown():
    x, y = images(12)
    found = compare_networks({"one": plain()}, test=(x, y), foreign={"letters": (x, y + 20)}, train=(x, y))
    (one,) = found.predictions.members["one"]
    assert one.foreign["letters"].labels is None
    assert one.foreign["letters"].features.shape == (12, 16)
    assert torch.equal(one.train.labels, y)
    assert torch.equal(one.inputs, x)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"test": images()[0]}, "test"),
        ({"reference": "yours"}, "reference"),
        ({"networks": {"one": nn.Sequential(nn.Dropout(), plain())}}, "generator"),
        ({"networks": {"a/b": plain(), "a b": plain()}, "out": "folder"}, "different files"),
        ({"networks": {"one": "network"}}, "networks"),
        ({"networks": {}}, "at least one"),
    ],
)
def test_what_cannot_be_compared_is_refused(change, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=message):
        compare_networks(**({"networks": {"one": plain()}, "test": images()} | change))
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_what_is_left_out_says_why():
    class Recurrent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell, self.out = nn.GRU(4, 4, batch_first=True), nn.Linear(4, 3)

        def forward(self, x):
            return self.out(self.cell(x.flatten(1, 2))[0][:, -1])

    found = compare_networks({"<mine>": Recurrent()}, test=images(6))
    assert isinstance(found, Comparison)
    assert "GRU" in found.left_out["costs of <mine>"]
    found.__dict__["figures"] = {}
    assert "&lt;mine&gt;" in found._repr_html_()
