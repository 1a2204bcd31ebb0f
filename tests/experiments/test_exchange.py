"""Runs written for other libraries, and networks of other libraries evaluated, by Python and by the command."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch

from tests.helpers.experiments import tiny
from tests.helpers.peers import library
from tsnn_uq import data
from tsnn_uq.checks import InputError
from tsnn_uq.cli import main
from tsnn_uq.components import registry as components
from tsnn_uq.exchange import from_nir, read_nir, to_nir, write_nir
from tsnn_uq.experiments import load_network, run
from tsnn_uq.experiments.evaluation import evaluate_nir, evaluate_run, export_run

nir = library("nir")
PARTS = {"dropout": {}, "dropconnect": {}, "plif": {"network.pooling": "average"}}


@pytest.fixture
def call(typed):
    return partial(typed, main, "tsnn-uq")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A folder with a ternary run of each family that can leave."""
    folder = tmp_path_factory.mktemp("runs")
    for family, options in PARTS.items():
        run(tiny(family=family, method="direct", reset="hard", learning_rate=0.02, **options), folder)
    return folder


@pytest.mark.parametrize("family", PARTS)
def test_a_run_of_each_family_leaves_and_comes_back(runs, family, tmp_path):
    folder, path = runs / f"{family}-all-direct-0", tmp_path / "net.nir"
    nodes = export_run(folder, path)
    assert set(nodes.values()) <= {"Input", "Output", "Flatten", "Conv2d", "AvgPool2d", "Linear", "LIF"}
    graph = read_nir(path)
    images = torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    network, steps = load_network(folder), int(graph.metadata["steps"])
    assert torch.equal(from_nir(graph)(images.expand(steps, *images.shape)), network(images))
    values, own = evaluate_nir(path), evaluate_run(folder)
    assert (values["data"], values["inputs"], values["samples"], values["steps"]) == ("digits", 360, 1, own["steps"])
    assert values.keys() == own.keys()
    assert values["mutual_information"] == 0


def test_dropout_is_put_on_and_the_engine_gives_the_same(runs, tmp_path):
    path = tmp_path / "net.nir"
    export_run(runs / "dropout-all-direct-0", path)
    values = evaluate_nir(path, "digits:noise=0.5", samples=3, dropout=0.5)
    assert values["samples"] == 3
    assert values["mutual_information"] > 0
    assert evaluate_nir(path, "digits:noise=0.5", samples=3, dropout=0.5) == values
    once = evaluate_nir(path)
    assert evaluate_nir(path, engine=True) == pytest.approx(once, rel=1e-3)


def foreign(path, inputs=64):
    """A file without a coding, of a library that has flat inputs."""
    nodes = {
        "input": nir.Input(np.array([inputs])),
        "fc": nir.Linear(np.random.default_rng(0).normal(size=(10, inputs)).astype(np.float32)),
        "output": nir.Output(np.array([10])),
    }
    write_nir(path, nir.NIRGraph(nodes, [("input", "fc"), ("fc", "output")]))
    return path


def test_a_graph_without_a_coding_takes_constant_currents(tmp_path):
    path = foreign(tmp_path / "net.nir")
    values = evaluate_nir(path, "digits", steps=3)
    assert (values["steps"], values["inputs"]) == (3, 360)
    for problem, options in (("data", {"steps": 3}), ("steps", {"name": "digits"})):
        with pytest.raises(InputError, match=f"^{problem}: expected"):
            evaluate_nir(path, **options)
    with pytest.raises(InputError, match=r"nothing in .* is random"):
        evaluate_nir(path, "digits", steps=3, samples=8)


def test_data_of_another_size_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"data: expected inputs of shape \[65\]"):
        evaluate_nir(foreign(tmp_path / "net.nir", 65), "digits", steps=3)


def test_what_is_foreign_to_the_file_is_detected(runs, tmp_path, monkeypatch):
    """Labels mean nothing on data that are not the run's own."""
    path = tmp_path / "net.nir"
    export_run(runs / "dropout-all-direct-0", path)
    own = data.load_test("digits")
    other = data.Dataset(own.images.flip(2), own.labels, "letters", own.classes)
    monkeypatch.setattr(data, "load_test", lambda name, *_, **__: other if name == "letters" else own)
    values = evaluate_nir(path, "letters")
    assert "accuracy" not in values
    assert 0 <= values["ood_auroc (predictive_entropy)"] <= 1


@pytest.mark.parametrize("shift", ["", ":rotate=30"])
def test_data_of_anybodys_component_are_not_foreign_to_their_own_network(shift, runs, tmp_path, monkeypatch):
    graph = to_nir(load_network(runs / "dropout-all-direct-0"), (1, 8, 8))
    graph.metadata["data"] = "mine.py:load"
    write_nir(tmp_path / "net.nir", graph)
    monkeypatch.setattr(components, "_REGISTERED", {kind: dict(of) for kind, of in components._REGISTERED.items()})
    components.register("data", "mine.py:load", lambda: data.load("digits"))
    values = evaluate_nir(tmp_path / "net.nir", f"mine.py:load{shift}" if shift else None)
    assert values["data"] == f"mine.py:load{shift}"
    assert 0 <= values["accuracy"] <= 1


def test_the_commands(call, runs, tmp_path):
    path = tmp_path / "net.nir"
    code, text, _ = call("export", runs / "dropout-all-direct-0", "--to", "nir", "--out", path)
    assert code == 0
    assert "LIF" in text
    for options in ([], ["--data", "digits", "--engine"], ["--dropout", 0.2, "--samples", 2]):
        code, text, _ = call("evaluate", path, *options)
        assert code == 0
        assert "accuracy" in text
    code, _, error = call("evaluate", runs / "dropout-all-direct-0", "--steps", 3)
    assert (code, "steps, dropout: expected none" in error) == (2, True)
    code, _, error = call("export", runs / "dropout-all-direct-0", "--to", "onnx", "--out", path)
    assert (code, "to: expected one of" in error) == (2, True)


def test_a_run_with_soft_reset_is_refused_with_what_to_do(tmp_path):
    run(tiny(method="direct"), tmp_path)
    with pytest.raises(InputError, match="hard"):
        export_run(tmp_path / "dropout-all-direct-0", tmp_path / "net.nir")
    assert not (tmp_path / "net.nir").exists()
