"""``tsnn-uq report`` as a user types it."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from markupsafe import Markup

from tests.helpers.experiments import tiny
from tsnn_uq.cli import main
from tsnn_uq.experiments import Grid, compare


@pytest.fixture
def call(typed):
    """Run the command; gives exit code, standard output and standard error."""
    return partial(typed, main, "tsnn-uq", "report")


def test_it_writes_one_file(call, monkeypatch, tmp_path):
    monkeypatch.setattr("tsnn_uq.experiments.comparison.draw_figures", lambda *_: [])
    monkeypatch.setattr("tsnn_uq.results.page.render_page.sections_of_runs", lambda *_, **__: [])
    folder, out = tmp_path / "runs", tmp_path / "new" / "report.html"
    compare(Grid(methods=("float",), seeds=1, run=tiny()), folder)
    code, text, error = call(folder, "--out", out)
    assert (code, error) == (0, "")
    assert text.splitlines() == [f"wrote {out}", f"next: open {out.as_uri()} in a browser"]
    assert [path.name for path in out.parent.iterdir()] == ["report.html"]
    assert "<title>Report of runs</title>" in out.read_text(encoding="utf-8")


def test_a_folder_without_runs_is_one_line_and_code_2(call, tmp_path):
    code, _, error = call(tmp_path, "--out", tmp_path / "report.html")
    assert code == 2
    assert error.startswith(f"tsnn-uq: {tmp_path}: expected a folder with finished runs")
    assert len(error.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_help_says_what_it_makes(call):
    code, text, _ = call("--help")
    assert code == 0
    assert "one HTML page" in " ".join(text.split())
    assert "--full" in text


def save(folder, name, count=30, sharp=2.0):
    rng = np.random.default_rng(len(name))
    labels = np.arange(count) % 3
    logits = sharp * np.eye(3)[labels] + rng.normal(size=(2, count, 3))
    np.savez(folder / f"{name}.npz", logits=logits, labels=labels)
    return f"{name}={folder / name}.npz"


def test_anybodys_predictions_make_a_page(call, monkeypatch, tmp_path):
    monkeypatch.setattr("tsnn_uq.results.page.figure_section.inline_figure", lambda *_: Markup("<svg></svg>"))
    words = [save(tmp_path, "mine"), save(tmp_path, "yours", sharp=1.0), "--reference", "yours"]
    code, text, error = call(*words, "--out", tmp_path / "page.html")
    assert (code, error) == (0, "")
    assert f"\nwrote {tmp_path / 'page.html'}\n" in f"\n{text}"
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "<title>Report of mine, yours</title>" in page
    assert "Differences from yours" in page


def test_bad_predictions_are_one_line_and_code_2(call, tmp_path):
    mine, other = save(tmp_path, "mine"), save(tmp_path, "others", count=29)
    (tmp_path / "text.npz").write_text("float")
    for words, reason in (
        ([mine, other], "others: expected the 30 test inputs of mine"),
        ([mine, f"b={tmp_path / 'text.npz'}"], "not a zip archive"),
        ([mine, "--full"], "full: expected the folder of a comparison"),
        ([mine, "--reference", "yours"], "reference: expected one of"),
    ):
        code, _, error = call(*words, "--out", tmp_path / "page.html")
        assert code == 2
        assert reason in error
        assert len(error.splitlines()) == 1
        assert not (tmp_path / "page.html").exists()
