"""The page as a text: well-formed, true to the summary, self-contained, and the same each time."""

from __future__ import annotations

import base64
import math
import os
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch
from matplotlib.figure import Figure

from tests.helpers.experiments import tiny
from tests.report.conftest import NAME
from tests.report.elements import Element, parse
from tsnn_uq import __version__
from tsnn_uq.checks import InputError
from tsnn_uq.experiments import Grid, read_predictions
from tsnn_uq.files import read_json, write_json
from tsnn_uq.plots import save_figure
from tsnn_uq.report import write_report
from tsnn_uq.report.contents import read_contents
from tsnn_uq.report.tables import COSTS, QUALITY

GLOSSARY = Path(__file__).parents[2] / "tsnn_uq" / "report" / "glossary.html"


@pytest.fixture(scope="module")
def root(page):
    return parse(page.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def families_root(families_page):
    return parse(families_page.read_text(encoding="utf-8"))


def table(root: Element, caption: str) -> Element:
    (found,) = [table for table in root.all("table") if caption in table.all("caption")[0].text()]
    return found


def shown(root: Element, caption: str) -> list[dict[str, list[Element]]]:
    """A table's rows: by heading, the numbers in the cell."""
    headings = [heading.text() for heading in table(root, caption).all("thead")[0].all("th")]
    rows = []
    for row in table(root, caption).all("tbody")[0].all("tr"):
        cells = [cell for cell in row.children if isinstance(cell, Element)]
        rows.append({name: cell.all("data") for name, cell in zip(headings, cells, strict=True)})
    return rows


@pytest.mark.parametrize(("caption", "measures"), [("Accuracy, calibration", QUALITY), ("Size and cost", COSTS)])
def test_every_number_is_the_summarys(root, comparison, caption, measures):
    summary = pd.read_csv(comparison / "summary.csv")
    rows = shown(root, caption)
    assert len(rows) == len(summary) == 2
    for row, wanted in zip(rows, summary.to_dict("records"), strict=True):
        cells = list(row.items())
        assert cells[0][1][0].text().strip() == wanted["method"]
        assert cells[1][1][0].text() == str(wanted["seeds"])
        for measure, (heading, numbers) in zip(measures, cells[2:], strict=True):
            assert heading.startswith(measure.title)
            (size,) = [size for unit, size in measure.units.items() if heading.endswith(unit)]
            for of, number in zip(("mean", "std"), numbers, strict=True):
                value = wanted[f"{measure.column}_{of}"]
                assert float(number.attributes["value"]) == value
                text = number.text().replace(",", "")
                digits = len(text.partition(".")[2])
                assert float(text) == pytest.approx(value / size, abs=0.5000001 * 10**-digits)
                assert of == "mean" or value == 0 or float(text) > 0


def test_every_measure_of_the_summary_is_shown_and_explained(comparison, root):
    columns = {name.removesuffix("_mean") for name in pd.read_csv(comparison / "summary.csv") if name.endswith("_mean")}
    assert {measure.column for measure in (*QUALITY, *COSTS)} == columns
    explained = {entry.attributes["id"]: entry.text() for entry in root.all("dt") if "id" in entry.attributes}
    assert set(explained) == columns
    arrows = {1: "↑", -1: "↓", 0: ""}
    for measure in (*QUALITY, *COSTS):
        heading = next(key for key in shown_headings(root) if key.startswith(measure.title))
        for text in (heading, explained[measure.column]):
            assert [arrow for arrow in "↑↓" if arrow in text] == [*arrows[measure.better]]


def shown_headings(root: Element) -> list[str]:
    return [heading.text() for heading in root.all("th", scope="col")]


def test_the_glossary_says_what_the_numbers_are(comparison):
    """The formulas of the page, written once more, give a run's row from its predictions."""
    run = comparison / "runs" / "dropout-all-direct-1"
    row = read_json(run / "result.json")["row"]
    probs, y = (tensor.double() if tensor.is_floating_point() else tensor for tensor in read_predictions(run))
    mean = probs.mean(0)
    right = torch.nn.functional.one_hot(y, mean.shape[1])
    entropy = torch.special.entr(mean).sum(1)
    variance = ((probs - mean) ** 2).mean(0).sum(1)
    wanted = {
        "accuracy": (mean.argmax(1) == y).double().mean(),
        "nll": -mean.gather(1, y[:, None]).log().mean(),
        "brier": ((mean - right) ** 2).sum(1).mean(),
        "predictive_entropy": entropy.mean(),
        "normalized_entropy": entropy.mean() / math.log(mean.shape[1]),
        "mutual_information": (entropy - torch.special.entr(probs).sum(2).mean(0)).mean(),
        "predictive_variance": variance.mean(),
        "predictive_std": variance.sqrt().mean(),
    }
    for name, value in wanted.items():
        assert row[name] == pytest.approx(float(value), rel=1e-4, abs=1e-7), name


def test_it_is_a_sound_page(root, families_root):
    for page in (root, families_root):
        (html,) = page.all("html")
        assert html.attributes["lang"] == "en"
        assert len(page.all("title")) == len(page.all("h1")) == len(page.all("main")) == 1
        ids = re.findall(r' id="([^"]+)"', page_text(page))
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


def page_text(root: Element) -> str:
    """Ids of all elements, in the form of a page's text."""
    own = "".join(f' id="{e.attributes["id"]}"' for e in _descendants(root) if "id" in e.attributes)
    return own


def _descendants(root: Element) -> list[Element]:
    children = [child for child in root.children if isinstance(child, Element)]
    return children + [element for child in children for element in _descendants(child)]


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


def test_the_same_folder_gives_the_same_bytes(comparison, page, tmp_path):
    """In another process too, where names hash otherwise."""
    code = "import sys; from pathlib import Path; from tsnn_uq.report import write_report; "
    code += "write_report(*map(Path, sys.argv[1:]))"
    command = [sys.executable, "-W", "ignore", "-c", code, str(comparison), str(tmp_path / "again.html")]
    subprocess.run(command, check=True, env=os.environ | {"PYTHONHASHSEED": "1", "TZ": "Asia/Tokyo"}, timeout=300)
    assert (tmp_path / "again.html").read_bytes() == page.read_bytes()
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


def test_the_papers_layout_is_there_if_the_table_is(root, families_root, families):
    assert "Our rows" not in root.text()
    wanted = pd.read_csv(families / "table.csv")
    rows = shown(families_root, "in the layout of the paper")
    assert len(rows) == len(wanted) == 7
    for row, of in zip(rows, wanted.to_dict("records"), strict=True):
        for name in ("accuracy_pct", "energy_pj", "predictive_entropy_nats"):
            assert float(row[name.replace("_", " ")][0].attributes["value"]) == of[name]


def test_families_in_folders_of_their_own_are_all_there(families_root):
    titles = [title.text() for title in families_root.all("h3")]
    wanted = ["digits-dropout-dropconnect: dropconnect", "digits-dropout-dropconnect: dropout"]
    wanted += ["digits-plif: plif-conv", "digits-plif: plif"]
    assert titles == ["Gain against cost", *(f"{name}, seed 0" for name in wanted)]
    assert len(families_root.all("details")) == 2
    assert len(shown(families_root, "Size and cost")) == 7


@pytest.fixture
def incomplete(comparison, tmp_path):
    """One run begun, one not begun, one of a seed that was not planned; no summary."""
    folder = tmp_path / "incomplete"
    shutil.copytree(comparison, folder)
    (folder / "summary.csv").unlink()
    runs = folder / "runs"
    shutil.rmtree(runs / "dropout-all-direct-0")
    (runs / "dropout-all-direct-1" / "result.json").unlink()
    shutil.copytree(runs / "dropout-none-float-1", runs / "dropout-none-float-7")
    result = read_json(runs / "dropout-none-float-7" / "result.json")
    write_json(runs / "dropout-none-float-7" / "result.json", {"row": result["row"] | {"seed": 7}})
    return folder


def test_unfinished_runs_are_listed_as_such(incomplete, unrendered, tmp_path):
    contents = read_contents(incomplete)
    assert [contents.count(state) for state in ("finished", "begun", "not begun")] == [3, 1, 1]
    write_report(incomplete, tmp_path / "report.html")
    root = parse((tmp_path / "report.html").read_text(encoding="utf-8"))
    warnings = [text.text() for text in root.all("p", class_="warning")]
    assert warnings[0].startswith("Not complete: 3 of 5 runs are finished")
    assert warnings[1].startswith("results.csv has 4 rows, this page 3 finished runs")
    rows = [[cell.text().strip() for cell in row.children] for row in table(root, "Runs by their seeds").all("tr")]
    assert ["dropout", "none", "float", "0, 1, 7", "-", "-"] in rows
    assert ["dropout", "all", "direct", "-", "1", "0"] in rows
    assert "Variance, input by input: not drawn. methods: expected float and a ternary method" in root.text()
    assert "Accuracy and uncertainty against cost, digits: not drawn. All networks cost the same." in root.text()


def test_figures_are_of_the_seed_with_most_methods(comparison, incomplete, tmp_path):
    def shown_of(folder):
        (compared,) = read_contents(folder).comparisons
        return list(compared.shown())

    assert shown_of(comparison) == shown_of(incomplete) == [("dropout", "all", 0)]
    shutil.copytree(comparison, tmp_path / "other")
    shutil.rmtree(tmp_path / "other" / "runs" / "dropout-none-float-0")
    assert shown_of(tmp_path / "other") == [("dropout", "all", 1)]


def test_one_seed_has_no_spread(families_root):
    assert "±" not in table(families_root, "Size and cost").text()


def test_a_reproduction_has_a_table_for_each_regularizer(comparison, unrendered, tmp_path):
    for name in ("none", "variance-5"):
        shutil.copytree(comparison, tmp_path / "all" / name / "digits-dropout")
    (tmp_path / "all" / "reproduce.toml").write_text('budget = "quick"\n')
    write_report(tmp_path / "all", tmp_path / "report.html")
    root = parse((tmp_path / "report.html").read_text(encoding="utf-8"))
    for name in ("none", "variance-5"):
        assert len(shown(root, f"Size and cost, regularizer {name}")) == 2
    assert "Quick budget" in root.all("p", class_="warning")[0].text()


def test_the_posterior_is_shown_where_it_was_drawn(comparison, unrendered, tmp_path):
    shutil.copytree(comparison, tmp_path / "runs")
    save_figure(Figure(figsize=(2, 1)), tmp_path / "runs" / "posterior")
    write_report(tmp_path / "runs", tmp_path / "report.html")
    (image,) = parse((tmp_path / "report.html").read_text(encoding="utf-8")).all("img")
    drawn = base64.b64decode(image.attributes["src"].removeprefix("data:image/png;base64,"))
    assert drawn == (tmp_path / "runs" / "posterior.png").read_bytes()
    assert image.attributes["alt"] == "Posterior of the differences from float"


def test_full_adds_what_is_predicted_anew(comparison, unrendered, tmp_path):
    told = []
    write_report(comparison, tmp_path / "report.html", full=True, say=told.append)
    root = parse((tmp_path / "report.html").read_text(encoding="utf-8"))
    drawn = [figure.all("strong")[0].text() for figure in root.all("figure")]
    assert {"Shifted images.", "Fewer samples, fewer time steps.", "Spikes.", "Membrane potentials."} <= set(drawn)
    assert len(drawn) == 2 + 5 + 7 == len(told)
    assert "not drawn" not in root.text()
    captions = {figure.all("strong")[0].text(): figure.all("figcaption")[0].text() for figure in root.all("figure")}
    assert "N = 360 test inputs. Runs" in captions["Membrane potentials."]  # without masks there are no samples
    assert "N = 360 test inputs, S = 2 samples. Runs" in captions["Shifted images."]


def test_bad_folders_are_refused(comparison, tmp_path):
    with pytest.raises(InputError, match="expected the folder of a comparison with finished runs"):
        read_contents(tmp_path / "absent")
    with pytest.raises(InputError, match="got a folder without one"):
        read_contents(tmp_path)
    Grid(run=tiny()).save(tmp_path / "config.toml")
    (tmp_path / "runs").mkdir()
    with pytest.raises(InputError, match="got one in which no run is finished"):
        read_contents(tmp_path)
    assert sorted(os.listdir(tmp_path)) == ["config.toml", "runs"]


def test_a_place_that_cannot_be_written_is_found_first(comparison, tmp_path, monkeypatch):
    monkeypatch.setattr("tsnn_uq.report.page.drawings", lambda *_, **__: pytest.fail("drawn"))
    with pytest.raises(InputError, match="out: expected a file to write"):
        write_report(comparison, tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write here"):
        write_report(comparison, tmp_path / "file" / "report.html")
