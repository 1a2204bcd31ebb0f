"""The report says nothing of which results/ do not know, and what is committed is what results/ make now."""

from __future__ import annotations

import doctest
import json
import re
import shutil
from itertools import product
from pathlib import Path

import pandas as pd
import pytest
import typst

pytest.importorskip("paper.build", reason="needs a checkout: paper/ is not beside tests/")

from paper import build as building
from paper import number_format
from paper.report_sources import Sources
from tests.helpers.typst_prose import asked_names, typed_numbers
from tsnn_uq.checks import InputError
from tsnn_uq.training import DEFAULT_REGULARIZER

pytestmark = pytest.mark.usefixtures("rendered")

ROOT = Path(__file__).parents[2]
REPORT = (ROOT / "paper" / "report.typ").read_text(encoding="utf-8")
LAYOUT = (ROOT / "paper" / "layout.typ").read_text(encoding="utf-8")


@pytest.fixture
def copy(tmp_path):
    """The report and all that it is made from, to be changed."""
    for name in ("paper", "figures"):
        shutil.copytree(
            ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__", ".part-*", "networks")
        )
    return tmp_path


def change(path, old, new):
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


def change_an_accuracy(copy, accuracy):
    """Of the first row, whatever it is."""
    path = copy / "paper" / "results" / "mnist-fc.csv"
    before = pd.read_csv(path)["accuracy"].iloc[0]
    change(path, f",{before},", f",{accuracy},")


def test_no_number_is_typed():
    assert typed_numbers(REPORT) == []


@pytest.mark.parametrize(
    "typed",
    [
        *("Accuracy is 98.2 % here.", "by 3 seeds", "$x = 0.5$", "$10^7$", "a million weights", "half of them", "`98`"),
        *('#text("98.2")', "#98.2", "#(1 + 1)", "#figure(caption: [In 97 %.])", "(2, 3)", "in 2026", "T=20 steps"),
    ],
)
def test_a_typed_number_is_found(typed):
    assert typed_numbers(f"{REPORT}\n{typed}\n")


@pytest.mark.parametrize(
    "asked", ['#num("a.b2") %', "else 0, and 784-500-500-500-10", "$1/S sum_s x^2$", "@li2016 and <table-2>", "// 98"]
)
def test_what_is_asked_for_by_name_is_no_typed_number(asked):
    assert typed_numbers(asked) == []


def test_the_layout_says_no_number():
    shown = re.findall(r"\[([^\]]*)\]", LAYOUT)
    assert len(shown) > 10
    assert [text for text in shown if typed_numbers(text)] == []


def test_every_number_has_a_source():
    contents = json.loads((ROOT / "paper" / "contents.json").read_text(encoding="utf-8"))
    assert len(asked_names(REPORT)) > 50
    assert set(asked_names(REPORT)) <= set(contents["numbers"])
    assert not re.search(r'#num\("[^"]*"\);', REPORT), "typst takes a bare semicolon after a call for its end"


def test_every_figure_that_is_asked_for_is_listed():
    listed = set(Sources(ROOT).listed["figures"])
    assert set(re.findall(r"drawn\(\"([^\"]+)\"\)", REPORT)) <= listed


def test_an_unknown_number_stops_the_build(copy):
    change(copy / "paper" / "report.typ", 'num("seeds")', 'num("sedes")')
    with pytest.raises(typst.TypstError, match="no number is called sedes"):
        building.compile_report(Sources(copy))


@pytest.mark.slow
def test_what_is_committed_is_of_these_results():
    assert building.stale(ROOT) == []


@pytest.mark.slow
def test_a_changed_result_is_noticed(copy):
    change_an_accuracy(copy, 0.9153)
    assert set(building.stale(copy)) == {"table-1.csv", "contents.json", "report.json", "posterior-mnist-fc.csv"}


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("results/weights-mnist-fc.csv", "dropout,float,1", "dropout,float,9"),
        ("report.typ", "= Questions", "= Answers"),
        ("layout.typ", "10pt", "11pt"),
        ("diagrams.py", '"Float teacher"', '"Teacher"'),
        ("references.bib", "Horowitz", "Horrowitz"),
    ],
)
def test_a_changed_source_is_noticed(copy, name, old, new):
    change(copy / "paper" / name, old, new)
    assert building.changed_files(Sources(copy)) == [f"paper/{name}"]


@pytest.mark.parametrize("name", ["report.pdf", "figure-1.pdf", "figure-1.png", "figure-2.pdf", "figure-2.png"])
def test_a_changed_output_is_noticed(copy, name):
    path = copy / "paper" / name
    path.write_bytes(path.read_bytes() + b" ")
    assert building.changed_files(Sources(copy)) == [f"paper/{name}"]


@pytest.mark.slow
def test_changed_texts_are_noticed(copy):
    for name in ("table-1.csv", "contents.json"):
        path = copy / "paper" / name
        path.write_bytes(path.read_bytes() + b" ")
    assert building.stale(copy) == ["table-1.csv", "contents.json"]


def test_a_changed_number_reaches_the_page(copy):
    """The PDF has the numbers of contents.json, and of nothing else."""
    path = copy / "paper" / "contents.json"
    before = building.compile_report(Sources(copy))
    contents = json.loads(path.read_text(encoding="utf-8"))
    contents["numbers"]["float.ece"] = "12.34"
    path.write_text(json.dumps(contents), encoding="utf-8")
    assert building.compile_report(Sources(copy)) != before


@pytest.mark.slow
def test_building_makes_it_right_again(copy, monkeypatch):
    change_an_accuracy(copy, 0.9753)
    posterior = copy / "paper" / "results" / "posterior-mnist-fc.csv"

    def same_with_new_origin(results):  # the real one takes a minute
        old = posterior.read_text(encoding="utf-8").splitlines(keepends=True)[1:]
        posterior.write_text(f"{building.origin(results)}\n{''.join(old)}", encoding="utf-8")

    monkeypatch.setattr(building, "write_posterior", same_with_new_origin)
    assert building.build(copy) == copy / "paper" / "report.pdf"
    assert building.stale(copy) == []


def files(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def listed_files():
    """Every file that the report cannot do without, but for the posterior, which is computed anew."""
    sources = Sources(ROOT)
    posterior = sources.results / sources.listed["posterior"]
    return [str(path.relative_to(ROOT)) for path in sources.files if path.name != "sources.toml" and path != posterior]


@pytest.mark.parametrize("change", ["removed", "empty", "noise"])
def test_missing_and_damaged_files_are_named_and_nothing_is_written(copy, change):
    names = (
        listed_files()
        if change != "noise"
        else [name for name in listed_files() if not name.endswith((".typ", ".bib"))]
    )
    assert len(names) > 25
    for name in names:
        (copy / name).unlink()
        if change != "removed":
            (copy / name).write_bytes(b"" if change == "empty" else b'"\x93\xff[=')
    before = files(copy)
    with pytest.raises(InputError, match="expected all files") as error:
        building.build(copy)
    for name in names:
        assert f"{name} (" in str(error.value)
    assert files(copy) == before


def test_one_missing_figure_fails(copy):
    (copy / "figures" / "entropy-mnist-dropout-seed0-fashion-mnist.pdf").unlink()
    with pytest.raises(InputError, match=r"got figures/entropy-mnist-dropout-seed0-fashion-mnist.pdf \(missing\);"):
        building.build(copy)


def test_a_truncated_figure_fails(copy):
    path = copy / "figures" / "entropy-mnist-dropout-seed0-fashion-mnist.pdf"
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(InputError, match=r"got figures/entropy-mnist-dropout-seed0-fashion-mnist.pdf \(damaged\);"):
        building.build(copy)


FINAL_MEASURES = ("ece", "nll", "sparsity", "predictive_entropy", "normalized_entropy", "predictive_std")


@pytest.fixture
def finals():
    """Rows of direct and float networks with the default term and without, temperatures set and not."""
    parts = []
    for method, text, variance in (
        ("direct", "none", 0.004),
        ("direct", DEFAULT_REGULARIZER, 0.003),
        ("direct", "information:1", 0.0036),
        ("float", "none", 0.0035),
        ("float", DEFAULT_REGULARIZER, 0.002),
    ):
        for family, seed, calibration in product(("dropout", "dropconnect"), range(2), ("none", "temperature")):
            head = {"dataset": "mnist", "family": family, "method": method, "seed": seed}
            head |= {"term": text, "regularizer": text}
            values = dict.fromkeys(FINAL_MEASURES, 0.01)
            values |= dict.fromkeys(("ood_auroc_fashion", "ood_auroc_letters"), 0.9)
            values |= {"accuracy": 0.98 + 0.001 * seed, "aurc": variance / 2, "predictive_variance_wrong": 0.1}
            parts.append({**head, "calibration": calibration, "predictive_variance_correct": variance, **values})
    return pd.DataFrame(parts)


@pytest.mark.slow
def test_terms_and_posteriors_are_compared_with_networks_with_masks_alone(copy, finals):
    results = copy / "paper" / "results"
    finals.to_csv(results / "regularizer-finals.csv", index=False)
    chosen = finals.assign(chosen=finals["method"] == "direct")
    chosen.to_csv(results / "regularizer-screening.csv", index=False)
    of_float = (finals["family"] == "dropout") & (finals["regularizer"] == "none") & (finals["method"] == "float")
    some = finals[of_float].assign(version="0.2.0")
    kinds = {"float, masks": 0.96, "direct, masks": 0.94, "direct, masks, 5 epochs more": 0.95}
    kinds |= {"ternary posterior at temperature 0.1": 0.97, "ternary-weights posterior at temperature 0.1": 0.98}
    kinds |= {"ensemble of 5 float": 0.985, "ensemble of 5 direct": 0.99}
    posteriors = pd.concat([some.assign(method=method, accuracy=value) for method, value in kinds.items()])
    posteriors.to_csv(results / "posteriors-mnist.csv", index=False)
    contents = building.contents(Sources(copy))
    (copy / "paper" / "contents.json").write_text(json.dumps(contents), encoding="utf-8")
    assert building.compile_report(Sources(copy)).startswith(b"%PDF")
    rows = contents["tables"]["finals"]
    assert (len(rows), len(contents["tables"]["screening"])) == (10, 6)
    names = [cell["text"] for cell in rows[0][:5]]
    assert names == ["dropout", "direct", "none", "2", "98.05 ± 0.07"]
    assert contents["numbers"]["default.variance.lower"] == "25"
    assert contents["numbers"]["default.accuracy.gain"] == "0.00"
    assert contents["numbers"]["second.term"] == "information:1"
    assert contents["numbers"]["second.variance.lower"] == "10"
    assert [[cell["text"] for cell in row[:3]] for row in contents["tables"]["posteriors"]] == [
        ["float, masks", "2", "96.00"],
        ["direct, masks", "2", "94.00"],
        ["direct, masks, 5 epochs more", "2", "95.00"],
        ["ternary posterior at temperature 0.1", "2", "97.00"],
        ["ternary-weights posterior at temperature 0.1", "2", "98.00"],
        ["ensemble of 5 float", "2", "98.50"],
        ["ensemble of 5 direct", "2", "99.00"],
    ]
    numbers = contents["numbers"]
    names = ("float", "direct-longer", "ternary", "ensemble-direct")
    assert [numbers[f"draws.{name}.accuracy"] for name in names] == ["96.00", "95.00", "97.00", "99.00"]


def test_how_numbers_are_written():
    assert doctest.testmod(number_format) == doctest.TestResults(failed=0, attempted=5)


def test_a_table_of_words_shows_each_of_its_rows(copy):
    def height(rows: int) -> float:
        (copy / "paper" / "words.csv").write_text("work\n" + "a work\n" * rows, encoding="utf-8")
        page = typst.compile(copy / "paper" / "words.typ", root=copy, format="svg", ignore_system_fonts=True)
        return float(re.search(r'viewBox="0 0 \S+ (\S+)"', page.decode())[1])

    start = '#import "layout.typ": words-table\n#set page(width: 16cm, height: auto)\n'
    (copy / "paper" / "words.typ").write_text(f'{start}#words-table("words.csv")[Works]', encoding="utf-8")
    none, one, seven = height(0), height(1), height(7)
    assert one - none > 5  # points
    assert seven - none == pytest.approx(7 * (one - none), rel=0.01)
