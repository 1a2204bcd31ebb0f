from __future__ import annotations

import os
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path

import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from tests.helpers.checkout import need_folder
from tests.helpers.experiments import TINY, tiny, undrawn, without_time
from tsnn_uq.checks import InputError
from tsnn_uq.experiments import Context, Grid, compare, make_settings, read_predictions, run
from tsnn_uq.experiments.comparison import require_comparable, write_posterior
from tsnn_uq.experiments.plan import (
    make_grid,
    make_grids,
    plan_comparison,
    run_folder,
)
from tsnn_uq.quantization import PARTS
from tsnn_uq.results.bayesian_comparison import Limits, compare_methods
from tsnn_uq.results.tables import read_results
from tsnn_uq.training import METHODS

GRID = Grid(families=("dropout",), methods=("float", "direct"), seeds=2, run=tiny())
TABLES = ["results.csv", "summary.csv", "config.toml"]


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


def rows(out):
    return [without_time(row) for row in read_results(out / "results.csv").to_dict("records")]


def figures(*names):
    return [
        f"{kind}-{name}.{suffix}" for name in names for kind in ("reliability", "entropy") for suffix in ("pdf", "png")
    ]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    out = tmp_path_factory.mktemp("comparison")
    return out, compare(GRID, out)


def test_it_writes_tables_figures_and_what_made_them(made):
    out, comparison = made
    assert [path.name for path in comparison.files] == [*TABLES, *figures("dropout")]
    assert names_in(out) == sorted([*TABLES, *figures("dropout"), "runs"])
    assert Grid.load(out / "config.toml") == GRID
    console = Console(width=140, record=True, quiet=True)
    console.print(*comparison.tables)
    assert [row["seed"] for row in rows(out)] == [0, 1, 0, 1]


def test_a_row_is_what_the_run_alone_gives(made, tmp_path):
    out, _ = made
    for row, config in zip(rows(out), GRID.runs(), strict=True):
        alone = without_time(run(config, tmp_path))
        assert {name: row[name] for name in alone} == alone


def test_called_again_it_gives_the_same_files(made):
    out, first = made
    before = {path: path.read_bytes() for path in first.files}
    again = compare(GRID, out, Context(jobs=2))
    assert again.files == first.files
    assert {path: path.read_bytes() for path in again.files} == before


def test_other_settings_are_refused_and_nothing_is_touched(made):
    out, _ = made
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    for grid in (
        replace(GRID, run=tiny(epochs=3)),
        replace(GRID, run=tiny(epochs=3), families=("dropconnect",)),
        replace(GRID, run=tiny(epochs=3), methods=("indirect",), seeds=5),
    ):
        with pytest.raises(InputError, match="expected a folder made with epochs = 3"):
            compare(grid, out)
    with pytest.raises(InputError, match="quantized_part: expected layers of the kind 'conv'"):
        compare(replace(GRID, parts=("all", "conv")), out)
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


def test_a_grid_may_grow_in_its_folder(tmp_path):
    compare(replace(GRID, methods=("float",), seeds=1), tmp_path)
    assert names_in(tmp_path) == sorted([*TABLES, *figures("dropout"), "runs"])
    small = rows(tmp_path)
    compare(replace(GRID, families=("dropout", "dropconnect"), parts=("all", "fc")), tmp_path)
    grown = rows(tmp_path)
    assert len(grown) == 12
    assert small[0] in grown
    names = figures("dropout", "dropout-fc", "dropconnect", "dropconnect-fc")
    assert names_in(tmp_path) == sorted([*TABLES, *names, "runs"])
    assert Grid.load(tmp_path / "config.toml").families == ("dropout", "dropconnect")


def test_a_folder_claimed_but_not_begun_is_free(tmp_path):
    for text in ("", "half = ", "[run]\nepochs = 3\n"):
        out = tmp_path / str(len(text))
        (out / "runs" / tiny().name).mkdir(parents=True)
        (out / "config.toml").write_text(text)
        (out / ".part-results-x.csv").write_text("half")
        os.utime(out / ".part-results-x.csv", (0, 0))  # a younger one may be another process's
        with undrawn():
            compare(replace(GRID, methods=("float",), seeds=1), out)
        assert names_in(out) == sorted([*TABLES, "runs"])


def test_a_damaged_configuration_of_a_begun_folder_is_one_line(tmp_path):
    run(tiny(), tmp_path / "runs")
    (tmp_path / "config.toml").write_text("half = ")
    with pytest.raises(InputError, match=r"config\.toml: expected a TOML file; it is damaged"):
        compare(GRID, tmp_path)


def test_predictions_are_read_side_by_side(made):
    out, _ = made
    folders = {method: run_folder(out, "dropout", "all", method, 1) for method in ("float", "direct")}
    predictions = {method: read_predictions(folder) for method, folder in folders.items()}
    probs, labels = predictions["direct"]
    assert probs.shape == (2, 360, 10)
    assert torch.equal(labels, predictions["float"][1])
    assert run_folder(out, "dropout", "all", "float", 1) == out / "runs" / "dropout-none-float-1"


ALIKE = ("dropconnect", "dropout")  # one set of settings suits both


def some(names):
    return st.lists(st.sampled_from(list(names)), min_size=1, unique=True).map(tuple)


@settings(max_examples=15)
@given(some(ALIKE), some(PARTS), some(METHODS), st.integers(1, 3))
def test_each_combination_is_one_run_and_comes_back_from_toml(tmp_path_factory, families, parts, methods, seeds):
    grid = Grid(families, parts, methods, seeds, tiny(epochs=7))
    runs = grid.runs()
    kinds = {(run.family, run.method.name, run.quantized_part, run.seed) for run in runs}
    ternary = [method for method in methods if method != "float"]
    assert len(runs) == len(kinds) == len(families) * seeds * (("float" in methods) + len(ternary) * len(parts))
    assert all(run.epochs == 7 for run in runs)
    path = tmp_path_factory.mktemp("grid") / "config.toml"
    grid.save(path)
    assert Grid.load(path) == grid
    assert make_grid({}, config=path) == grid


def test_what_is_given_goes_before_the_file_and_that_before_the_preset(tmp_path):
    assert make_grid({}) == Grid()
    assert make_grid({"data": "mnist"}).run == make_settings({"data": "mnist"})
    path = tmp_path / "config.toml"
    axes = 'seeds = 2\nfamilies = ["dropconnect"]\n'
    path.write_text(axes + '[run]\ndata = "mnist"\nepochs = 5\n[method]\nstart = 0.1\n')
    grid = make_grid({"network.steps": 8, "end": 0.8}, config=path, methods=("float", "indirect"), seeds=4)
    run = make_settings({"network": "dropconnect", "data": "mnist", "epochs": 5, "steps": 8})
    assert grid == Grid(
        ("dropconnect",), ("all",), ("float", "indirect"), 4, run, {"method.start": 0.1, "method.end": 0.8}
    )
    *_, last = grid.runs()
    assert (last.method.start, last.method.end) == (0.1, 0.8)
    moved = make_grid({"data": "digits", "batch_size": 7}, config=path)
    assert (moved.run.network.hidden, moved.run.epochs, moved.run.batch_size) == ((128, 128), 60, 7)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ('familys = ["dropout"]', "toml: key: expected one of"),
        ('families = "dropout"', "toml: families: expected a list of names"),
        ('families = ["dropot"]', "toml: .*: expected one of"),
        ('methods = ["float", "float"]', "toml: methods: expected at least one name"),
        ("parts = []", "toml: parts: expected at least one name"),
        ("seeds = 0", "toml: seeds: expected a positive whole number"),
        ("seeds = 1.5", "toml: seeds: expected a positive whole number"),
        ('methods = [["float"]]', "toml: methods: expected a list of names"),
        ("[method]\nstrat = 0.5", r"toml: strat: option of methods .*; got 'strat' \(did you mean 'start'"),
        ("run = 3", r"toml: expected a table \[run\]"),
        ("[run]\nepoch = 3", "toml: key: expected one of"),
        ('[run]\nmethod = "direct"', r"toml: \[run\]: expected no method; a comparison has methods"),
        ('[run]\nfamily = "plif"', r"toml: \[run\]: expected no family; a comparison has families"),
        ('[method]\nlayers = "fc"', r"toml: \[run\]: expected no method\.layers; a comparison has parts"),
        ("[run]\nepochs = 0", "toml: epochs: expected greater than or equal to 1"),
        ("[run", "toml: expected a TOML file; it is damaged"),
    ],
)
def test_a_bad_file_is_one_line_with_its_name(tmp_path, text, match):
    (tmp_path / "my.toml").write_text(text)
    with pytest.raises(InputError, match=match) as error:
        Grid.load(tmp_path / "my.toml")
    assert "\n" not in str(error.value)


def test_settings_that_do_not_suit_all_methods_are_refused_before_any_run():
    grid = make_grid({"rule": "learned"})
    with pytest.raises(InputError, match="rule: expected one that is not learned"):
        grid.runs()


# Rows of the paper's table: algorithm, quantized part, method.
FULL = [("none", "none"), ("FC", "indirect"), ("FC", "direct")]
PAPER_PARTS = ("2Conv", "2FC", "2Conv+2FC")
ROWS = [
    *((name, *row) for name in ("SNN-Dropconnect", "SNN-Dropout", "SNN-Slayer") for row in FULL),
    ("SNN-PLIF", "none", "none"),
    *(("SNN-PLIF", part, method) for part in PAPER_PARTS for method in ("indirect", "direct")),
]


def grids(settings=None, **given):
    return make_grids(settings or {}, **given)


def test_all_families_are_the_papers_table():
    first, slayer, plif = grids(families=("all",))
    assert (first.families, first.run.data.name, first.parts) == (("dropconnect", "dropout"), "mnist", ("all",))
    assert (slayer.families, slayer.run.data.name, slayer.run.network.coding) == (("slayer",), "nmnist", "events")
    assert (plif.families, plif.run.data.name, plif.parts) == (("plif",), "mnist", ("conv", "fc", "all"))
    assert plif.run.network.hidden == (128, 128, 2048)
    assert {grid.methods for grid in (first, slayer, plif)} == {("float", "indirect", "direct")}
    assert sum(len(grid.runs()) for grid in (first, slayer, plif)) == 3 * len(ROWS)


def test_families_that_the_same_settings_suit_are_one_grid():
    (both,) = grids(families=("dropout", "dropconnect"), data=("mnist",))
    assert both.families == ("dropout", "dropconnect")
    (one,) = grids(families=("plif",), parts=("conv",))
    assert (one.run.data.name, one.parts) == ("digits", ("conv",))
    (nothing,) = grids()
    assert nothing.families == ("dropout",)


def test_a_family_takes_the_data_of_its_kind():
    dropout, slayer = grids(families=("dropout", "slayer"), data=("nmnist-simulated", "fashion-mnist"))
    assert (dropout.run.data.name, slayer.run.data.name) == ("fashion-mnist", "nmnist-simulated")
    images, also_images = grids(families=("dropout", "slayer"), data=("mnist",))
    assert (images.run.data.name, also_images.run.data.name, also_images.run.network.coding) == (
        "mnist",
        "mnist",
        "latency",
    )


def test_a_file_of_settings_suits_one_grid_alone():
    with pytest.raises(InputError, match="config: expected none with families of different settings, dropout, plif"):
        make_grids({}, config=Path("a.toml"), families=("dropout", "plif"))
    with pytest.raises(InputError, match="network: expected one of"):
        grids(families=("plfi", "dropout"))


@pytest.mark.slow
def test_sixteen_rows_in_the_papers_layout(tmp_path):
    few = {name: TINY[name] for name in ("epochs", "batch_size", "train_limit", "samples")}
    made = grids(families=("all",), data=("digits",), seeds=1, settings=few)
    with undrawn():
        comparison = compare(made, tmp_path)
    table = pd.read_csv(tmp_path / "table.csv", keep_default_na=False)
    assert list(zip(table["algorithm"], table["quantized_part"], table["method"], strict=True)) == ROWS
    assert list(table["configuration"]) == ["FC"] * 9 + ["2Conv+2FC"] * 7
    assert {path.parent for path in comparison.files} == {
        tmp_path,
        *(part.folder for part in plan_comparison(made, tmp_path).parts),
    }
    assert all(path.exists() for path in comparison.files)
    by_run = pd.read_csv(tmp_path / "results.csv").set_index(["family", "quantized_part", "method"])
    row = table[(table["quantized_part"] == "2Conv") & (table["method"] == "direct")].iloc[0]
    run = by_run.loc[("plif", "conv", "direct")]
    assert float(row["energy_pj"]) == run["energy_pj"]
    assert float(row["accuracy_pct"]) == pytest.approx(100 * run["accuracy"])
    assert float(row["storage_mb"]) == pytest.approx(run["storage_bytes"] / 1e6)


RESULTS = Path(__file__).parents[2] / "paper" / "results" / "mnist-fc.csv"


@pytest.mark.parametrize(
    ("grid", "match"),
    [
        (Grid(seeds=1), "seeds: expected at least 2 for a Bayesian"),
        (Grid(methods=("direct", "indirect")), "methods: expected float and at least one"),
        (Grid(methods=("float",)), "methods: expected float and at least one"),
    ],
)
def test_what_cannot_be_compared_is_refused_before_any_run(grid, match):
    with pytest.raises(InputError, match=match):
        require_comparable([Grid(), grid])


def test_table_and_figure_of_the_measured_rows(tmp_path, monkeypatch):
    few = partial(compare_methods, draws=10, warm_up=10, chains=2, limits=Limits(r_hat=100, ess=-1e6, divergent=1))
    monkeypatch.setattr("tsnn_uq.results.bayesian_comparison.compare_methods", few)
    need_folder("paper")
    shutil.copy(RESULTS, tmp_path / "results.csv")
    files = write_posterior(tmp_path)
    assert [path.name for path in files] == ["bayes.csv", "posterior.pdf", "posterior.png"]
    table = pd.read_csv(tmp_path / "bayes.csv")
    rows = pd.read_csv(RESULTS)
    means = rows.groupby(["family", "method"])["accuracy"].mean()
    found = table[
        (table["measure"] == "accuracy") & (table["family"] == "dropout") & (table["method"] == "indirect")
    ].iloc[0]
    plain = 100 * (means["dropout", "indirect"] - means["dropout", "float"])  # points
    assert found["low"] < plain < found["high"]


@pytest.mark.parametrize("path", sorted(RESULTS.parent.glob("*.toml")), ids=lambda path: path.stem)
def test_settings_of_committed_rows_can_be_run_again(path):
    if path.stem == "plif-start":
        assert make_settings({}, path).name == "plif-none-float-0"
    else:
        assert {run.seed for run in Grid.load(path).runs()} >= {0}
