from __future__ import annotations

import os
from dataclasses import replace

import pytest
import torch
from rich.console import Console

from tests.helpers.experiments import tiny, without_time
from tsnn_uq.checks import InputError
from tsnn_uq.experiments import Grid, run
from tsnn_uq.experiments.compare import compare, read_comparison, run_folder
from tsnn_uq.experiments.tables import read_results

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
    console.print(comparison.table)
    assert [row["seed"] for row in rows(out)] == [0, 1, 0, 1]


def test_a_row_is_what_the_run_alone_gives(made, tmp_path):
    out, _ = made
    for row, config in zip(rows(out), GRID.runs(), strict=True):
        alone = without_time(run(config, tmp_path))
        assert {name: row[name] for name in alone} == alone


def test_called_again_it_gives_the_same_files(made):
    out, first = made
    before = {path: path.read_bytes() for path in first.files}
    again = compare(GRID, out, jobs=2)
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
        with pytest.raises(InputError, match="expected a folder made with epochs = 3; got one with epochs = 2; choose"):
            compare(grid, out)
    with pytest.raises(InputError, match="quantized_part: expected layers of the kind 'conv'"):
        compare(replace(GRID, parts=("all", "conv")), out)
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


@pytest.fixture
def quick_figures(monkeypatch):
    """Figures that are there, and empty."""

    def save(_, path):
        files = tuple(path.with_name(f"{path.name}.{suffix}") for suffix in ("pdf", "png"))
        for file in files:
            file.touch()
        return files

    monkeypatch.setattr("tsnn_uq.plots.save_figure", save)


def test_a_grid_may_grow_in_its_folder(quick_figures, tmp_path):
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


def test_a_folder_claimed_but_not_begun_is_free(quick_figures, tmp_path):
    for text in ("", "half = ", "[run]\nepochs = 3\n"):
        out = tmp_path / str(len(text))
        (out / "runs" / tiny().name).mkdir(parents=True)
        (out / "config.toml").write_text(text)
        (out / ".part-results-x.csv").write_text("half")
        os.utime(out / ".part-results-x.csv", (0, 0))  # a younger one may be another process's
        compare(replace(GRID, methods=("float",), seeds=1), out)
        assert names_in(out) == sorted([*TABLES, *figures("dropout"), "runs"])


def test_a_damaged_configuration_of_a_begun_folder_is_one_line(tmp_path):
    run(tiny(), tmp_path / "runs")
    (tmp_path / "config.toml").write_text("half = ")
    with pytest.raises(InputError, match=r"config\.toml: expected a TOML file; it is damaged or foreign"):
        compare(GRID, tmp_path)


def test_predictions_are_read_side_by_side(made):
    out, _ = made
    predictions = read_comparison(out, "dropout", seed=1)
    assert list(predictions) == ["float", "direct"]
    probs, labels = predictions["direct"]
    assert probs.shape == (2, 360, 10)
    assert torch.equal(labels, predictions["float"][1])
    assert run_folder(out, "dropout", "all", "float", 1) == out / "runs" / "dropout-none-float-1"
    with pytest.raises(InputError, match="expected finished runs of dropconnect, part all, seed 0; got none"):
        read_comparison(out, "dropconnect")
