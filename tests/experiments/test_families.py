"""All families in one call: which grids there are, and the table in the paper's layout."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from tests.helpers.experiments import TINY
from tsnn_uq.checks import InputError
from tsnn_uq.experiments.families import compare_families, grid_folder, make_grids

NOTHING = {"data": (), "families": (), "parts": (), "methods": (), "seeds": None, "settings": {}}
# Rows of the paper's table: algorithm, quantized part, method.
FULL = [("none", "none"), ("FC", "indirect"), ("FC", "direct")]
PARTS = ("2Conv", "2FC", "2Conv+2FC")
ROWS = [
    *((name, *row) for name in ("SNN-Dropconnect", "SNN-Dropout", "SNN-Slayer") for row in FULL),
    ("SNN-PLIF", "none", "none"),
    *(("SNN-PLIF", part, method) for part in PARTS for method in ("indirect", "direct")),
]


def grids(**given):
    return make_grids(None, **(NOTHING | given))


def test_all_families_are_the_papers_table():
    first, slayer, plif = grids(families=("all",))
    assert (first.families, first.run.data, first.parts) == (("dropconnect", "dropout"), "mnist", ("all",))
    assert (slayer.families, slayer.run.data, slayer.run.coding) == (("slayer",), "nmnist", "events")
    assert (plif.families, plif.run.data, plif.parts) == (("plif",), "mnist", ("conv", "fc", "all"))
    assert plif.run.hidden == (128, 128, 2048)
    assert {grid.methods for grid in (first, slayer, plif)} == {("float", "indirect", "direct")}
    assert sum(len(grid.runs()) for grid in (first, slayer, plif)) == 3 * len(ROWS)


def test_families_that_the_same_settings_suit_are_one_grid():
    (both,) = grids(families=("dropout", "dropconnect"), data=("mnist",))
    assert both.families == ("dropout", "dropconnect")
    (one,) = grids(families=("plif",), parts=("conv",))
    assert (one.run.data, one.parts) == ("digits", ("conv",))
    (nothing,) = grids()
    assert nothing.families == ("dropout",)


def test_a_family_takes_the_data_of_its_kind():
    dropout, slayer = grids(families=("dropout", "slayer"), data=("nmnist-simulated", "fashion-mnist"))
    assert (dropout.run.data, slayer.run.data) == ("fashion-mnist", "nmnist-simulated")
    images, also_images = grids(families=("dropout", "slayer"), data=("mnist",))
    assert (images.run.data, also_images.run.data, also_images.run.coding) == ("mnist", "mnist", "latency")


def test_a_file_of_settings_suits_one_grid_alone():
    with pytest.raises(
        InputError, match="config: expected none with families of different settings, dropout, plif; got a"
    ):
        make_grids(Path("a.toml"), **(NOTHING | {"families": ("dropout", "plif")}))
    with pytest.raises(InputError, match=r"family: expected one of .*; got 'plfi' \(did you mean 'plif'\?\)"):
        grids(families=("plfi", "dropout"))


@pytest.mark.slow
def test_sixteen_rows_in_the_papers_layout(monkeypatch, tmp_path):
    monkeypatch.setattr("tsnn_uq.experiments.compare.draw_figures", lambda *_: [])
    settings = {name: TINY[name] for name in ("epochs", "batch_size", "train_limit", "samples")}
    made = grids(families=("all",), data=("digits",), seeds=1, settings=settings)
    comparison = compare_families(made, tmp_path)
    table = pd.read_csv(tmp_path / "table.csv", keep_default_na=False)
    assert list(zip(table["algorithm"], table["quantized_part"], table["method"], strict=True)) == ROWS
    assert list(table["configuration"]) == ["FC"] * 9 + ["2Conv+2FC"] * 7
    assert {path.parent for path in comparison.files} == {tmp_path, *(grid_folder(tmp_path, grid) for grid in made)}
    assert all(path.exists() for path in comparison.files)
    by_run = pd.read_csv(tmp_path / "results.csv").set_index(["family", "quantized_part", "method"])
    row = table[(table["quantized_part"] == "2Conv") & (table["method"] == "direct")].iloc[0]
    run = by_run.loc[("plif", "conv", "direct")]
    assert float(row["energy_pj"]) == run["energy_pj"]
    assert float(row["accuracy_pct"]) == pytest.approx(100 * run["accuracy"])
    assert float(row["storage_mb"]) == pytest.approx(run["storage_bytes"] / 1e6)
