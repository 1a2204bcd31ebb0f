"""The cells of the report's tables as text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd

from paper.answers import COST
from paper.number_format import cell, enough_digits, interval, mean_std, number, power, records
from paper.table_1 import spread_apart
from tsnn_uq.results import tables
from tsnn_uq.results.measures import MEASURES, Measure, foreign_columns
from tsnn_uq.training import METHODS

__all__ = [
    "cost_cells",
    "draws_cells",
    "foreign_cells",
    "posterior_cells",
    "regularizer_cells",
    "summary_cells",
    "text_cells",
    "wu_cells",
]

Cells = list[list[dict[str, Any]]]
MARKS = {"higher": " ↑", "lower": " ↓"}
TRAINING = {"none": "none", "direct": "direct", "indirect": "indirect", "distill": "indirect, teacher"}
KEYS = list(tables.KEYS[1:])
_NAMES = (
    *("accuracy", "nll", "brier", "ece", "scaled_nll", "scaled_ece"),
    *("predictive_entropy", "normalized_entropy", "mutual_information", "predictive_variance", "predictive_std"),
)
#: Column of a summary -> its measure, for the tables of calibration and of uncertainty.
SHOWN = {MEASURES[name].column: MEASURES[name] for name in _NAMES}
COMPARED = ("accuracy", "predictive_entropy", "predictive_variance", "ece")


def wu_cells(rows: pd.DataFrame) -> Cells:
    """Table 1 from `paper.table_1.paper_rows`; names only where they change."""
    cells, before = [], ("", "", "")
    for row in records(rows.fillna({"accuracy_mark": "", "sparsity_mark": ""})):
        names = (row["algorithm"], row["quantized_part"], TRAINING[row["method"]])
        shown = [name if names[: i + 1] != before[: i + 1] else "" for i, name in enumerate(names)]
        before = names
        who = row["source"] if row["source"] != "ours" else f"ours, {row['dataset']}"
        ours = row["source"] == "ours"
        numbers = [
            mean_std(row["accuracy_pct"], row["accuracy_std"], 2) + MARKS.get(row["accuracy_mark"], ""),
            mean_std(row["sparsity_pct"], row["sparsity_std"], enough_digits(row["sparsity_std"]))
            + MARKS.get(row["sparsity_mark"], ""),
            number(row["uncertainty"], 3),
            *(number(row[name], 4) for name in ("predictive_entropy_nats", "normalized_entropy")),
            *(number(row[name], 4) for name in ("mutual_information_nats", "predictive_variance", "predictive_std")),
            number(row["storage_mb"], 2),
            power(row["energy_pj"], row["energy_pj_std"]),
            mean_std(row["flops_m"], row["flops_m_std"], enough_digits(row["flops_m_std"])),
        ]
        cells.append([cell(text, ours) for text in [*shown, who, str(row["seeds"]) if ours else "", *numbers]])
    return cells


def worse_than_float(summary: pd.DataFrame, row: dict[str, Any], measure: Measure) -> bool:
    """Whether a ternary row is worse than the float row of its family by more than the spreads."""
    alike = summary[(summary[KEYS[:3]] == [row[name] for name in KEYS[:3]]).all(axis=1)]
    of_float = records(alike[alike["method"] == "float"])
    if row["method"] == "float" or not of_float:
        return False
    mean, std = f"{measure.column}_mean", f"{measure.column}_std"
    apart = spread_apart(row[mean], row[std], of_float[0][mean], of_float[0][std])
    return apart and measure.better * (row[mean] - of_float[0][mean]) < 0


def summary_cells(summary: pd.DataFrame, measures: Iterable[str]) -> Cells:
    """A row for each family, part and method; values worse than float by more than the spreads are bold."""
    cells = []
    for row in records(summary):
        shown = [
            cell(
                mean_std(row[f"{name}_mean"], row[f"{name}_std"], SHOWN[name].digits),
                worse_than_float(summary, row, SHOWN[name]),
            )
            for name in measures
        ]
        names = [row["dataset"], row["family"], row["quantized_part"], row["method"], str(row["seeds"])]
        cells.append([*map(cell, names), *shown])
    return cells


def posterior_cells(posterior: pd.DataFrame) -> Cells:
    """A row for each family and method: mean and 95 % interval of each difference; bold if it excludes 0."""
    cells = []
    names = [name for name in KEYS if name in posterior]
    for key, rows in posterior.groupby(names, sort=False):
        family, method = dict(zip(names, key, strict=True))["family"], key[-1]
        line = [cell("mean of all" if family == "all" else str(family)), cell(str(method))]
        for measure in COMPARED:
            row = rows[rows["measure"] == measure].iloc[0]
            digits = 2 if row["unit"] == "points" else 4
            shown = interval((row["difference_mean"], row["low"], row["high"]), digits)
            line.append(cell(shown, row["low"] > 0 or row["high"] < 0))
            line.append(cell(number(row["in_rope"], 2)))
        cells.append(line)
    return cells


def cost_cells(costs: pd.DataFrame) -> Cells:
    """A row for each data set, ternary part and method: differences with intervals; bold if they exclude 0."""
    cells = []
    for names, rows in costs.groupby(["data", "part", "method"], sort=False):
        line = [cell(str(name)) for name in names]
        by_measure = {row["measure"]: row for row in records(rows)}
        for measure in COST:
            row = by_measure.get(measure)
            if row is None:
                line.append(cell(""))
                continue
            shown = interval((row["mean"], row["low"], row["high"]), MEASURES[measure].digits)
            line.append(cell(shown, row["verdict"] != ""))
        cells.append(line)
    return cells


def text_cells(table: pd.DataFrame) -> Cells:
    """The texts of a table as they are."""
    return [[cell(str(text)) for text in row] for row in table.to_numpy().tolist()]


def foreign_cells(foreign: pd.DataFrame) -> Cells:
    """A row for each family and method: means and standard deviations over seeds."""
    measures = {"auroc_entropy": 3, "auroc_information": 3, "fpr95_entropy": 3, "fpr95_information": 3}
    measures |= {"foreign_entropy": 3, "foreign_information": 3}
    cells = []
    order = foreign.assign(rank=foreign["method"].map(list(METHODS).index)).sort_values(["dataset", "family", "rank"])
    for key, rows in order.groupby([*KEYS[:2], *KEYS[3:], "foreign"], sort=False):
        names = [*map(str, key), str(len(rows))]
        cells.append(
            [*map(cell, names), *(cell(mean_std(rows[m].mean(), rows[m].std(), d)) for m, d in measures.items())]
        )
    return cells


def regularizer_cells(
    results: pd.DataFrame,
    names: Sequence[str] = ("family", "method", "regularizer"),
    calibration: str = "temperature",
) -> Cells:
    """A row for each family, method and regularizer: means and standard deviations over seeds.

    Args:
        results: a table of `tsnn_uq.experiments.ablation`; of a screening, only rows of the chosen weights are shown.
        names: columns that identify a row.
        calibration: ``"temperature"`` for networks with temperatures, ``"none"`` for them as they are.
    """
    columns = ["accuracy", "ece", "predictive_entropy", "aurc", "predictive_variance_correct"]
    columns += ["predictive_variance_wrong", *foreign_columns(results.columns)]
    measures = [MEASURES[name] for name in columns]
    shown = results[results["chosen"]] if "chosen" in results else results
    shown = shown[shown["calibration"] == calibration]
    cells = []
    for key, rows in shown.groupby(list(names), sort=False):
        texts = [*map(str, key), str(rows["accuracy"].count())]  # without runs whose temperature is undetermined
        values = [(rows[m.name].mean() * m.factor, rows[m.name].std() * m.factor, min(m.digits, 3)) for m in measures]
        cells.append([*map(cell, texts), *(cell(mean_std(*value)) for value in values)])
    return cells


def draws_cells(posteriors: pd.DataFrame) -> Cells:
    """A row for each network with masks, posterior or ensemble, as they are."""
    return regularizer_cells(posteriors, names=("method",), calibration="none")
