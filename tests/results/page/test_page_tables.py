"""Every number on the page is the summary's, and explained."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pandas as pd
import pytest
import torch

from tests.results.page.elements import shown, table
from tsnn_uq.experiments import read_predictions
from tsnn_uq.files import read_json
from tsnn_uq.results.measures import COSTS, QUALITY, SCALED
from tsnn_uq.results.page.page_tables import result_tables, summary_table
from tsnn_uq.results.tables import COLUMNS, summarize

ALL = (*QUALITY.values(), *SCALED.values(), *COSTS.values())


@pytest.mark.parametrize(
    ("caption", "measures"),
    [("Accuracy, calibration", QUALITY), ("After temperature scaling", SCALED), ("Size and cost", COSTS)],
)
def test_every_number_is_the_summarys(root, comparison, caption, measures):
    summary = pd.read_csv(comparison / "summary.csv")
    rows = shown(root, caption)
    assert len(rows) == len(summary) == 2
    for row, wanted in zip(rows, summary.to_dict("records"), strict=True):
        cells = list(row.items())
        assert cells[0][1][0].text().strip() == wanted["method"]
        assert cells[1][1][0].text() == str(wanted["seeds"])
        for measure, (heading, numbers) in zip(measures.values(), cells[2:], strict=True):
            assert heading.startswith(measure.title)
            (size,) = [size / measure.size for unit, size in measure.units.items() if heading.endswith(unit)]
            known = [of for of in ("mean", "std") if not math.isnan(wanted[f"{measure.column}_{of}"])]
            assert known or numbers[0].text() == "-"  # no seed determined it
            for of, number in zip(known, numbers if known else [], strict=True):
                value = wanted[f"{measure.column}_{of}"]
                assert float(number.attributes["value"]) == value
                text = number.text().replace(",", "")
                digits = len(text.partition(".")[2])
                assert float(text) == pytest.approx(value / size, abs=0.5000001 * 10**-digits)
                assert of == "mean" or value == 0 or float(text) > 0


def test_temperatures_that_were_not_determined_are_left_out_and_told():
    values = dict.fromkeys([*COLUMNS, *QUALITY], 0.5) | {"family": "dropout", "quantized_part": "all"}
    values |= dict.fromkeys(SCALED, 0.1)
    bound = {name: math.nan for name in values if name.startswith("scaled_")}
    bound |= {"temperature": 0.01, "temperature_outcome": "lower bound"}
    found = {"temperature": 1.25, "temperature_outcome": "optimum"}
    rows = [values | {"method": method, "seed": seed} for method in ("float", "direct") for seed in (0, 1)]
    rows = [row | (found if row["method"] == "float" and row["seed"] == 0 else bound) for row in rows]
    summary = summarize(rows)
    first, second = summary_table(summary, SCALED.values(), "After").rows
    assert [(cell.shown, cell.kept) for cell in first.cells[:2]] == [("1.250", "1 of 2"), ("0.1000", "1 of 2")]
    assert [(cell.shown, cell.kept) for cell in second.cells] == [("-", "0 of 2")] * len(SCALED)
    assert not any(cell.kept for row in summary_table(summary, QUALITY.values(), "").rows for cell in row.cells)
    for told, of in ((True, summary), (False, summarize(rows[:1]))):
        tables = list(result_tables(SimpleNamespace(summaries=lambda of=of: {"": of})))
        assert [table.undetermined for table in tables] == [False, told, False]


def test_rows_of_older_runs_have_tables_without_what_they_lack():
    rows = [dict.fromkeys(COLUMNS, 0.5) | {"family": "dropout", "quantized_part": "all", "method": "direct", "seed": 0}]
    tables = list(result_tables(SimpleNamespace(summaries=lambda: {"": summarize(rows)})))
    assert [table.title for table in tables] == ["Accuracy, calibration and uncertainty", "Size and cost"]
    assert [heading.title for heading in tables[0].headings] == [m.title for m in QUALITY.values() if m.name != "aurc"]


def test_every_measure_of_the_summary_is_shown_and_explained(comparison, root):
    columns = {name.removesuffix("_mean") for name in pd.read_csv(comparison / "summary.csv") if name.endswith("_mean")}
    assert {measure.column for measure in ALL} == columns
    explained = {entry.attributes["id"]: entry.text() for entry in root.all("dt") if "id" in entry.attributes}
    assert set(explained) == columns
    headings = [heading.text() for heading in root.all("th", scope="col")]
    arrows = {1: "↑", -1: "↓", 0: ""}
    for measure in ALL:
        heading = next(key for key in headings if key.startswith(measure.title))
        for text in (heading, explained[measure.column]):
            assert [arrow for arrow in "↑↓" if arrow in text] == [*arrows[measure.better]]


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


def test_the_papers_layout_is_there_if_the_table_is(root, families_root, families):
    assert "Our rows" not in root.text()
    wanted = pd.read_csv(families / "table.csv")
    rows = shown(families_root, "in the layout of the paper")
    assert len(rows) == len(wanted) == 7
    for row, of in zip(rows, wanted.to_dict("records"), strict=True):
        for name in ("accuracy_pct", "energy_pj", "predictive_entropy_nats"):
            assert float(row[name.replace("_", " ")][0].attributes["value"]) == of[name]


def test_one_seed_has_no_spread(families_root):
    assert "±" not in table(families_root, "Size and cost").text()
