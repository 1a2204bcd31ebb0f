"""``tsnn-uq report`` as a user types it."""

from __future__ import annotations

from functools import partial

import pytest

from tests.helpers.experiments import tiny
from tsnn_uq.cli import main
from tsnn_uq.experiments import Grid
from tsnn_uq.experiments.plan import compare


@pytest.fixture
def call(typed):
    """Run the command; gives exit code, standard output and standard error."""
    return partial(typed, main, "tsnn-uq", "report")


def test_it_writes_one_file(call, monkeypatch, tmp_path):
    monkeypatch.setattr("tsnn_uq.experiments.plan.draw_figures", lambda *_: [])
    monkeypatch.setattr("tsnn_uq.results.page.page.drawings", lambda *_, **__: [])
    folder, out = tmp_path / "runs", tmp_path / "new" / "report.html"
    compare(Grid(methods=("float",), seeds=1, run=tiny()), folder)
    code, text, error = call(folder, "--out", out)
    assert (code, text, error) == (0, f"wrote {out}\n", "")
    assert [path.name for path in out.parent.iterdir()] == ["report.html"]
    assert "<title>Report of runs</title>" in out.read_text(encoding="utf-8")


def test_a_folder_without_runs_is_one_line_and_code_2(call, tmp_path):
    code, _, error = call(tmp_path, "--out", tmp_path / "report.html")
    assert code == 2
    assert error.startswith(f"tsnn-uq: {tmp_path}: expected the folder of a comparison with finished runs")
    assert len(error.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_help_says_what_it_makes(call):
    code, text, _ = call("--help")
    assert code == 0
    assert "one HTML page" in " ".join(text.split())
    assert "--full" in text
