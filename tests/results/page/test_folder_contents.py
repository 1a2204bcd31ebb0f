"""What lies in a folder: all of it is on the page, and what is missing is said."""

from __future__ import annotations

import os
import shutil

import pytest

from tests.helpers.experiments import tiny
from tests.results.page.elements import parse, shown, table
from tsnn_uq.checks import InputError
from tsnn_uq.experiments import Grid, run
from tsnn_uq.files import read_json, write_json
from tsnn_uq.results.page import write_report
from tsnn_uq.results.page.folder_contents import read_folder


@pytest.fixture
def incomplete(comparison, tmp_path):
    """One run begun, one not begun, one of a seed that was not planned; no summary."""
    folder = tmp_path / "incomplete"
    shutil.copytree(comparison, folder)
    (folder / "summary.csv").unlink()
    runs = folder / "runs"
    shutil.rmtree(runs / "dropout-all-direct-0")
    (runs / "dropout-all-direct-1" / "result.json").unlink()
    run(tiny(seed=7), runs)
    return folder


def test_unfinished_runs_are_listed_as_such(incomplete, unrendered, tmp_path):
    contents = read_folder(incomplete)
    assert [contents.count(state) for state in ("finished", "begun", "not begun")] == [3, 1, 1]
    write_report(incomplete, tmp_path / "report.html")
    root = parse((tmp_path / "report.html").read_text(encoding="utf-8"))
    warnings = [text.text() for text in root.all("p", class_="warning")]
    assert warnings[0].startswith("Not complete: 3 of 5 runs are finished")
    assert warnings[1].startswith("results.csv has 4 rows, this page 3 finished runs")
    rows = [[cell.text().strip() for cell in row.children] for row in table(root, "Runs by their seeds").all("tr")]
    assert ["dropout", "none", "float", "0, 1, 7", "-", "-"] in rows
    assert ["dropout", "all", "direct", "-", "1", "0"] in rows
    assert "Variance, input by input: not drawn. networks: expected at least two to compare" in root.text()
    assert "Accuracy and uncertainty against cost, digits: not drawn. All networks cost the same." in root.text()


def test_figures_are_of_the_seed_with_most_methods(comparison, incomplete, tmp_path):
    def shown_of(folder):
        (compared,) = read_folder(folder).comparisons
        return list(compared.shown())

    assert shown_of(comparison) == shown_of(incomplete) == [("dropout", "all", 0)]
    shutil.copytree(comparison, tmp_path / "other")
    shutil.rmtree(tmp_path / "other" / "runs" / "dropout-none-float-0")
    assert shown_of(tmp_path / "other") == [("dropout", "all", 1)]


@pytest.mark.slow
def test_families_in_folders_of_their_own_are_all_there(families_root):
    titles = [title.text() for title in families_root.all("h3")]
    wanted = ["digits-dropout-dropconnect: dropconnect", "digits-dropout-dropconnect: dropout"]
    wanted += ["digits-plif: plif-conv", "digits-plif: plif"]
    assert titles == ["Gain against cost", *(f"{name}, seed 0" for name in wanted)]
    assert len(families_root.all("details")) == 2
    assert len(shown(families_root, "Size and cost")) == 7


@pytest.mark.slow
def test_a_reproduction_has_a_table_for_each_regularizer(comparison, unrendered, tmp_path):
    for name in ("none", "variance-5"):
        shutil.copytree(comparison, tmp_path / "all" / name / "digits-dropout")
    (tmp_path / "all" / "reproduce.toml").write_text('budget = "quick"\n')
    write_report(tmp_path / "all", tmp_path / "report.html")
    root = parse((tmp_path / "report.html").read_text(encoding="utf-8"))
    for name in ("none", "variance-5"):
        assert len(shown(root, f"Size and cost, regularizer {name}")) == 2
    assert "Quick budget" in root.all("p", class_="warning")[0].text()


@pytest.mark.slow
def test_what_was_trained_run_by_run_is_reported_too(comparison, unrendered, tmp_path):
    """A folder with runs in it, and that of a single run."""
    shutil.copytree(comparison / "runs", tmp_path / "trained")
    write_report(tmp_path / "trained", tmp_path / "report.html")
    root = parse((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert len(shown(root, "Size and cost")) == 2
    single = tmp_path / "trained" / "dropout-all-direct-1"
    assert read_folder(single).count("finished") == 1
    write_report(single, tmp_path / "report.html")
    root = parse((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert len(shown(root, "Size and cost")) == 1
    assert root.all("code")[0].text() == (single / "config.toml").read_text(encoding="utf-8")


def test_bad_folders_are_refused(comparison, tmp_path):
    with pytest.raises(InputError, match="expected a folder with finished runs"):
        read_folder(tmp_path / "absent")
    with pytest.raises(InputError, match="got a folder without one"):
        read_folder(tmp_path)
    Grid(run=tiny()).save(tmp_path / "config.toml")
    (tmp_path / "runs").mkdir()
    with pytest.raises(InputError, match="got one in which no run is finished"):
        read_folder(tmp_path)
    assert sorted(os.listdir(tmp_path)) == ["config.toml", "runs"]


def test_float_comes_first_though_older_rows_lack_a_column(comparison, tmp_path):
    shutil.copytree(comparison, tmp_path / "runs")
    for seed in (0, 1):
        path = tmp_path / "runs" / "runs" / f"dropout-none-float-{seed}" / "result.json"
        result = read_json(path)
        del result["row"]["configuration"]
        write_json(path, result)
    (summary,) = read_folder(tmp_path / "runs").summaries().values()
    assert list(summary["method"]) == ["float", "direct"]
    assert list(summary["seeds"]) == [2, 2]
