"""The page as a text: well-formed, self-contained, and the same each time."""

from __future__ import annotations

import base64
import os
import re
import shutil
import stat
import subprocess
import sys

import pytest
import torch
from matplotlib.figure import Figure

from tests.results.page.conftest import NAME
from tests.results.page.elements import parse
from tsnn_uq import __version__
from tsnn_uq.checks import InputError
from tsnn_uq.results.figures import save_figure
from tsnn_uq.results.page import write_report


def test_it_is_a_sound_page(root, families_root):
    for page in (root, families_root):
        (html,) = page.all("html")
        assert html.attributes["lang"] == "en"
        assert len(page.all("title")) == len(page.all("h1")) == len(page.all("main")) == 1
        ids = [e.attributes["id"] for e in page.elements() if "id" in e.attributes]
        assert len(set(ids)) == len(ids)
        for link in page.all("a"):
            assert link.attributes["href"].removeprefix("#") in ids
        for figure in page.all("figure"):
            assert len(figure.all("figcaption")[0].text()) > 40
            (drawing,) = figure.all("img") or figure.all("svg", role="img")
            assert drawing.attributes.get("alt") or drawing.attributes.get("aria-label")
        for found in page.all("table"):
            assert found.all("caption")[0].text()
            assert all(cell.attributes["scope"] in ("row", "col") for cell in found.all("th"))


def test_names_are_escaped(page, root):
    assert root.all("title")[0].text() == f"Report of {NAME}"
    assert root.all("h1")[0].text().startswith(NAME)
    assert root.all("b") == []
    assert NAME not in page.read_text(encoding="utf-8")


def test_nothing_is_fetched(page, families_page):
    for path in (page, families_page):
        text = path.read_text(encoding="utf-8")
        assert "http" not in text
        assert "@import" not in text
        sources = re.findall(r'(?:src|href)="([^"]*)"', text) + re.findall(r"url\(([^)]*)\)", text)
        assert sources
        assert all(source.startswith(("#", "data:")) for source in sources)


@pytest.mark.slow
def test_the_same_folder_gives_the_same_bytes(comparison, drawn_page, tmp_path):
    """In another process too, where names hash otherwise."""
    code = "import sys; from pathlib import Path; from tsnn_uq.results.page import write_report; "
    code += "write_report(*map(Path, sys.argv[1:]))"
    command = [sys.executable, "-W", "ignore", "-c", code, str(comparison), str(tmp_path / "again.html")]
    subprocess.run(command, check=True, env=os.environ | {"PYTHONHASHSEED": "1", "TZ": "Asia/Tokyo"}, timeout=300)
    assert (tmp_path / "again.html").read_bytes() == drawn_page.read_bytes()
    assert stat.S_IMODE((tmp_path / "again.html").stat().st_mode) & 0o444
    assert [path.name for path in tmp_path.iterdir()] == ["again.html"]


def test_figures_name_their_runs_and_inputs(root):
    captions = [figure.all("figcaption")[0].text() for figure in root.all("figure")]
    own = [caption for caption in captions if "Runs: dropout-none-float-0, dropout-all-direct-0." in caption]
    for caption in own:
        assert "N = 360 test inputs, S = 2 samples" in caption or caption.startswith("Weights and their codes.")
    assert (len(own), len(captions)) == (5, 5 + 2)
    assert sum("N = 360 test inputs" in caption for caption in captions) == 4 + 2


def test_versions_and_configuration_are_there(root, comparison):
    footer = root.all("footer")[0].text()
    assert f"tsnn_uq {__version__} with torch {torch.__version__}" in footer
    (code,) = root.all("code")
    assert code.text() == (comparison / "config.toml").read_text(encoding="utf-8")
    assert root.all("details")[0].all("summary")[0].text() == "config.toml"


def test_the_posterior_is_shown_where_it_was_drawn(comparison, unrendered, rendered, tmp_path):
    shutil.copytree(comparison, tmp_path / "runs")
    save_figure(Figure(figsize=(2, 1)), tmp_path / "runs" / "posterior")
    write_report(tmp_path / "runs", tmp_path / "report.html")
    (image,) = parse((tmp_path / "report.html").read_text(encoding="utf-8")).all("img")
    drawn = base64.b64decode(image.attributes["src"].removeprefix("data:image/png;base64,"))
    assert drawn == (tmp_path / "runs" / "posterior.png").read_bytes()
    assert image.attributes["alt"] == "Posterior of the differences from float"


@pytest.mark.slow
def test_full_adds_what_is_predicted_anew(comparison, unrendered, tmp_path):
    told = []
    write_report(comparison, tmp_path / "report.html", full=True, progress=lambda *message: told.append(message))
    root = parse((tmp_path / "report.html").read_text(encoding="utf-8"))
    drawn = [figure.all("strong")[0].text() for figure in root.all("figure")]
    assert {"Shifted images.", "Fewer samples, fewer time steps.", "Spikes.", "Membrane potentials."} <= set(drawn)
    assert len(drawn) == 2 + 5 + 7
    assert [message[1:] for message in told] == [(done, len(drawn)) for done in range(len(drawn))]
    assert "not drawn" not in root.text()
    captions = {figure.all("strong")[0].text(): figure.all("figcaption")[0].text() for figure in root.all("figure")}
    assert "N = 360 test inputs. Runs" in captions["Membrane potentials."]  # without masks there are no samples
    assert "N = 360 test inputs, S = 2 samples. Runs" in captions["Shifted images."]


def test_a_place_that_cannot_be_written_is_found_first(comparison, tmp_path, monkeypatch):
    monkeypatch.setattr("tsnn_uq.results.page.render_page.sections_of_runs", lambda *_, **__: pytest.fail("drawn"))
    with pytest.raises(InputError, match="out: expected a file to write"):
        write_report(comparison, tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write here"):
        write_report(comparison, tmp_path / "file" / "report.html")
