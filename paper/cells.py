"""The report's tables as texts, cell by cell."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd

from paper.table import spread_apart
from paper.texts import cell, enough_digits, mean_std, number, power, records
from tsnn_uq.training import METHODS

__all__ = ["draws_cells", "foreign_cells", "posterior_cells", "regularizer_cells", "summary_cells", "wu_cells"]

Cells = list[list[dict[str, Any]]]
MARKS = {"higher": " ↑", "lower": " ↓"}
TRAINING = {"none": "none", "direct": "direct", "indirect": "indirect", "distill": "indirect, teacher"}
KEYS = ["dataset", "family", "configuration", "quantized_part", "method"]
#: Measure -> (decimals; 1 if more is worse, -1 if less is, 0 if neither).
SHOWN = {
    **{"accuracy_pct": (2, -1), "nll_nats": (4, 1), "brier": (4, 1), "ece_pct": (2, 1)},
    **{"scaled_nll_nats": (4, 1), "scaled_ece_pct": (2, 1)},  # after a temperature was set
    **{"predictive_entropy_nats": (4, 0), "normalized_entropy": (4, 0), "mutual_information_nats": (4, 0)},
    **{"predictive_variance": (4, 0), "predictive_std": (4, 0)},
}
COMPARED = ("accuracy", "predictive_entropy", "predictive_variance", "ece")


def wu_cells(rows: pd.DataFrame) -> Cells:
    """Table 1 from `paper.table.paper_rows`; names only where they change."""
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


def worse_than_float(summary: pd.DataFrame, row: dict[str, Any], measure: str, worse: int) -> bool:
    """Whether a ternary row is worse than the float one of its family by more than the spreads."""
    alike = summary[(summary[KEYS[:3]] == [row[name] for name in KEYS[:3]]).all(axis=1)]
    of_float = records(alike[alike["method"] == "float"])
    if row["method"] == "float" or not of_float:
        return False
    mean, std = f"{measure}_mean", f"{measure}_std"
    apart = spread_apart(row[mean], row[std], of_float[0][mean], of_float[0][std])
    return apart and worse * (row[mean] - of_float[0][mean]) > 0


def summary_cells(summary: pd.DataFrame, measures: Iterable[str]) -> Cells:
    """A row for each family, part and method; strong is what is worse than float by more than the spreads."""
    cells = []
    for row in records(summary):
        shown = [
            cell(
                mean_std(row[f"{measure}_mean"], row[f"{measure}_std"], digits),
                worse_than_float(summary, row, measure, worse),
            )
            for measure, (digits, worse) in ((measure, SHOWN[measure]) for measure in measures)
        ]
        names = [row["dataset"], row["family"], row["quantized_part"], row["method"], str(row["seeds"])]
        cells.append([*map(cell, names), *shown])
    return cells


def posterior_cells(posterior: pd.DataFrame) -> Cells:
    """A row for each family and method: mean and 95 % interval of each difference; strong where it leaves out 0."""
    cells = []
    names = [name for name in KEYS if name in posterior]
    for key, rows in posterior.groupby(names, sort=False):
        family, method = dict(zip(names, key, strict=True))["family"], key[-1]
        line = [cell("mean of all" if family == "all" else str(family)), cell(str(method))]
        for measure in COMPARED:
            row = rows[rows["measure"] == measure].iloc[0]
            digits = 2 if row["unit"] == "points" else 4
            mean, low, high = (number(row[name], digits) for name in ("difference_mean", "low", "high"))
            line.append(cell(f"{mean} [{low}, {high}]", row["low"] > 0 or row["high"] < 0))
            line.append(cell(number(row["in_rope"], 2)))
        cells.append(line)
    return cells


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


def regularizer_cells(results: pd.DataFrame, names: Sequence[str] = ("family", "method", "regularizer")) -> Cells:
    """A row for each family, method and regularizer, temperatures set: means and standard deviations over seeds.

    Args:
        results: what `tsnn_uq.experiments.ablation` writes; of a screening only rows of the chosen weights are shown.
        names: columns that tell rows apart.
    """
    measures = {"accuracy": (100, 2), "ece": (100, 2), "predictive_entropy": (1, 3), "aurc": (1000, 2)}
    measures |= {"predictive_variance_correct": (1000, 2), "predictive_variance_wrong": (1000, 0)}
    measures |= {"ood_auroc_fashion": (1, 3), "ood_auroc_letters": (1, 3)}
    shown = results[results["chosen"]] if "chosen" in results else results
    shown = shown[shown["calibration"] == "temperature"]
    cells = []
    for key, rows in shown.groupby(list(names), sort=False):
        told = [*map(str, key), str(rows["accuracy"].count())]  # without those that determine no temperature
        values = [(rows[m].mean() * unit, rows[m].std() * unit, digits) for m, (unit, digits) in measures.items()]
        cells.append([*map(cell, told), *(cell(mean_std(*value)) for value in values)])
    return cells


def draws_cells(posteriors: pd.DataFrame, finals: pd.DataFrame) -> Cells:
    """A row for each posterior or ensemble, after the networks with masks that they were made of or stand against."""
    masks = finals[(finals["family"] == posteriors["family"].iloc[0]) & (finals["regularizer"] == "none")]
    masks = masks.assign(method=masks["method"] + ", masks")
    return regularizer_cells(pd.concat([masks, posteriors]), names=("method",))
