"""Runs that a study needs: found, refused where they are missing, or trained and no others."""

from __future__ import annotations

import re
import shutil

import pytest
import torch

from tests.helpers.experiments import contents, tiny, undrawn
from tsnn_uq.checks import InputError
from tsnn_uq.experiments import Grid, compare, read_predictions
from tsnn_uq.results.studies import require_runs


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """A comparison of the methods float and direct, not to be changed."""
    out = tmp_path_factory.mktemp("found")
    with undrawn():
        compare(Grid(methods=("float", "direct"), seeds=1, run=tiny()), out)
    return out


@pytest.fixture
def folder(found, tmp_path):
    """A copy of it to train in."""
    return shutil.copytree(found, tmp_path / "copy")


def times(folder):
    return {path.parent.name: path.stat().st_mtime_ns for path in (folder / "runs").glob("*/result.json")}


def test_runs_with_a_loss_over_time_have_file_names_of_their_own(found, tmp_path):
    assert require_runs(found).file_name == "digits-dropout-seed0"
    with undrawn():
        compare(Grid(methods=("float", "direct"), seeds=1, run=tiny(loss_over_time="1,2", steps=2)), tmp_path)
    assert require_runs(tmp_path).file_name == "digits-dropout-seed0-loss-1-2"


def test_what_is_there_is_found(found):
    runs = require_runs(found)
    assert runs.folders == {
        "float": found / "runs" / "dropout-none-float-0",
        "direct": found / "runs" / "dropout-all-direct-0",
    }
    assert (runs.family, runs.part, runs.seed, runs.title) == ("dropout", "all", 0, "dropout")
    assert list(require_runs(found, methods=["direct"]).folders) == ["direct"]
    probs, labels = runs.predictions().pairs()["direct"]
    expected, expected_labels = read_predictions(runs.folders["direct"])
    torch.testing.assert_close(probs, expected, rtol=0, atol=0)
    torch.testing.assert_close(labels, expected_labels, rtol=0, atol=0)
    torch.testing.assert_close(runs.predictions().mean_pairs()["direct"][0], sum(expected) / len(expected))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"methods": ["distill", "float"]}, "expected finished runs of distill of dropout, part all, seed 0"),
        ({"family": "plif", "part": "conv"}, "expected finished runs of plif, part conv, seed 0"),
        (
            {"seed": 3},
            "part all, seed 3; got float, direct of dropout, part all, seed 0",
        ),
        ({"methods": ["flaot"]}, "methods: expected one of"),
    ],
)
def test_what_is_missing_is_told_and_not_trained(found, arguments, message):
    before = times(found)
    with pytest.raises(InputError, match=message):
        require_runs(found, **arguments)
    assert times(found) == before


def test_what_is_missing_is_trained_after_saying_so(folder):
    before = times(folder)
    said = []

    def say(text):
        assert times(folder) == before  # nothing is done yet
        said.append(text)

    runs = require_runs(folder, methods=["float", "distill"], train=True, say=say)
    (text,) = said
    assert re.fullmatch(rf"{re.escape(str(folder))}: 1 run to train, about \d+ (s|min)", text)
    assert times(folder) == before | {"dropout-all-distill-0": times(folder)["dropout-all-distill-0"]}
    assert list(runs.folders) == ["float", "distill"]
    require_runs(folder, methods=["float", "distill"], train=True, say=said.append)
    assert len(said) == 1


def test_tables_and_settings_that_are_there_stay_as_they_are(folder):
    kept = ("results.csv", "summary.csv", "config.toml")
    before = {name: (folder / name).read_bytes() for name in kept}
    require_runs(folder, methods=["distill"], seed=1, train=True, say=str)
    assert {name: (folder / name).read_bytes() for name in kept} == before
    assert not (folder / "runs" / "dropout-all-direct-1").exists()


def test_an_empty_folder_becomes_one_that_a_comparison_goes_on_from(tmp_path, monkeypatch):
    monkeypatch.setattr(
        "tsnn_uq.results.studies.run_selection.make_grid",
        lambda *_, **__: Grid(methods=("float",), seeds=1, run=tiny()),
    )
    require_runs(tmp_path, methods=["float"], train=True, say=str)
    assert Grid.load(tmp_path / "config.toml").run == tiny()


def test_trained_ones_are_those_of_a_comparison_with_the_folders_settings(folder, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    with undrawn():
        compare(Grid(methods=("indirect",), seeds=1, run=tiny()), other)
    runs = require_runs(folder, methods=["indirect"], train=True, say=str)
    assert contents(runs.folders["indirect"]) == contents(other / "runs" / "dropout-all-indirect-0")
