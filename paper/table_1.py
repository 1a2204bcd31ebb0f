"""Table 1: the authors' rows, each followed by ours, with differences that are larger than the spreads."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from paper.number_format import records
from tsnn_uq.results.paper_table import paper_table

__all__ = ["paper_rows", "spread_apart"]

NAMES = ("algorithm", "configuration", "quantized_part")
COLUMNS = [
    *(*NAMES, "method", "source", "dataset", "seeds"),
    *("accuracy_pct", "accuracy_std", "accuracy_mark", "sparsity_pct", "sparsity_std", "sparsity_mark"),
    *("uncertainty", "predictive_entropy_nats", "normalized_entropy", "mutual_information_nats"),
    *("predictive_variance", "predictive_std"),
    *("storage_mb", "energy_pj", "energy_pj_std", "flops_m", "flops_m_std"),
]
DATA = ("mnist", "nmnist", "nmnist-simulated")
"""Our data sets that stand for those of the authors."""
MARKED = ("accuracy", "sparsity")
"""Measures with marked differences; storage, energy and FLOPs follow from geometry, time steps and sparsity."""


def spread_apart(mean: float, std: float, other: float, other_std: float) -> bool:
    """Whether two means differ by more than twice the root of the sum of variances; unknown variances count as 0."""
    variances = sum(value**2 for value in (std, other_std) if not math.isnan(value))
    return abs(mean - other) > 2 * math.sqrt(variances)


def paper_rows(theirs: pd.DataFrame, summary: pd.DataFrame) -> pd.DataFrame:
    """The table: each row of the authors, followed by ours for each of `DATA`, or by one that says "not run".

    An indirect row is followed by ours without and with a teacher.

    Args:
        theirs: the authors' table, as in results/wu-et-al-table1.csv.
        summary: our results, as returned by `tsnn_uq.results.tables.summarize`.

    Returns:
        The columns `COLUMNS`. ``source`` is "Wu et al.", "ours" or "not run". If ours differs by more than the spreads
        (`spread_apart`), ``..._mark`` is "higher" or "lower".
    """
    ours = paper_table(summary[summary["dataset"].isin(DATA)])
    rows: list[dict[str, Any]] = []
    for row in records(theirs):
        rows.append({"source": "Wu et al.", **row})
        methods = ("indirect", "distill") if row["method"] == "indirect" else (row["method"],)
        alike = ours[(ours[list(NAMES)] == [row[name] for name in NAMES]).all(axis=1) & ours["method"].isin(methods)]
        alike = alike.sort_values("method", key=lambda names: names == "distill", kind="stable")
        for own in records(alike):
            rows.append({"source": "ours", **own, **{f"{name}_mark": _mark(own, row, name) for name in MARKED}})
        if alike.empty:
            rows.append({"source": "not run", **{name: row[name] for name in (*NAMES, "method")}})
    return pd.DataFrame(rows).reindex(columns=COLUMNS).astype({"seeds": "Int64"})


def _mark(own: dict[str, Any], row: dict[str, Any], name: str) -> str:
    mean, std = f"{name}_pct", f"{name}_std"
    if not spread_apart(own[mean], own[std], row[mean], row[std]):
        return ""
    return "higher" if own[mean] > row[mean] else "lower"
