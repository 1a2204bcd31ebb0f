"""Choose the weight of each term, and the terms of the finals, by the validation part alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tsnn_uq.checks import InputError, check_positive
from tsnn_uq.results.tables import read_table

if TYPE_CHECKING:
    from pandas import DataFrame

__all__ = ["ACCURACY_LOSS", "best_terms", "chosen_weights", "finalists", "read_stage"]

ACCURACY_LOSS = 0.002  # 5,000 validation images do not resolve smaller differences at an error of 4 %
_COST = "validation_predictive_variance_correct"


def chosen_weights(rows: DataFrame) -> DataFrame:
    """Choose the weight of each term: the lowest variance on correct predictions without a loss of accuracy.

    For each family, method and term, a weight is acceptable if its validation accuracy is at most 0.2 points below that
    of the same network without a term, and its validation AURC at most a tenth above. Among the acceptable weights, the
    one with the smallest variance on correct predictions is chosen; if there are none, the most accurate. All values
    are after temperature scaling, and means over the seeds that all weights have.

    Args:
        rows: rows of a stage, with ``family``, ``method``, ``term``, ``regularizer``, ``seed``, ``calibration`` and the
            ``validation_...`` columns; the term of rows without one is ``"none"``.

    Returns:
        A row for each family, method and term: ``regularizer`` (the chosen text), ``acceptable`` (whether any weight
            was), and ``gain``, the share by which the term reduces the variance on correct predictions.

    Raises:
        InputError: there are no rows without a term to compare with.

    Example:
        >>> import pandas as pd
        >>> common = {"family": "dropout", "method": "direct", "seed": 0, "calibration": "temperature"}
        >>> texts = {"none": (0.96, 8), "variance:1": (0.96, 6), "variance:5": (0.93, 3)}
        >>> rows = [common | {"term": text.split(":")[0], "regularizer": text, "validation_accuracy": accuracy,
        ...         "validation_aurc": 0.002, "validation_predictive_variance_correct": variance}
        ...         for text, (accuracy, variance) in texts.items()]
        >>> chosen_weights(pd.DataFrame(rows))[["regularizer", "gain"]].values.tolist()
        [['variance:1', 0.25]]
    """
    import pandas as pd

    rows = rows[rows["calibration"] == "temperature"]
    chosen = []
    for (family, method), group in rows.groupby(["family", "method"], sort=False):
        without = group[group["term"] == "none"]
        for term, part in group[group["term"] != "none"].groupby("term", sort=False):
            shared = set.intersection(*(set(of["seed"]) for _, of in part.groupby("regularizer"))) & set(
                without["seed"]
            )
            if not shared:
                raise InputError(f"rows: expected {family}, {method} without a term for the seeds of {term}; got none")
            base = without[without["seed"].isin(shared)].mean(numeric_only=True)
            means = part[part["seed"].isin(shared)].groupby("regularizer", sort=False).mean(numeric_only=True)
            fine = means["validation_accuracy"] >= base["validation_accuracy"] - ACCURACY_LOSS
            fine &= means["validation_aurc"] <= 1.1 * base["validation_aurc"]
            most_accurate = means["validation_accuracy"].fillna(0).idxmax()  # NaN where no temperature was determined
            best = means[fine][_COST].idxmin() if fine.any() else most_accurate
            cost = float(means[_COST].to_dict()[best])
            gain = 1 - cost / base[_COST] if base[_COST] else math.nan  # the variance of networks that never spike is 0
            names = {"family": family, "method": method, "term": term, "regularizer": str(best)}
            chosen.append({**names, "acceptable": bool(fine.any()), "gain": gain})
    return pd.DataFrame(chosen, columns=["family", "method", "term", "regularizer", "acceptable", "gain"])


def best_terms(rows: DataFrame, *, method: str = "direct", count: int = 2) -> list[str]:
    """The texts of the acceptable terms with the largest gain, best first; see `chosen_weights`.

    Raises:
        InputError: fewer than `count` terms are acceptable.
    """
    check_positive("count", count, integer=True)
    chosen = chosen_weights(rows)
    fine = chosen[chosen["acceptable"] & (chosen["method"] == method)]
    if len(fine) < count:
        raise InputError(f"count: expected at most the {len(fine)} acceptable terms of {method}; got {count}")
    texts: list[str] = fine.sort_values("gain", ascending=False)["regularizer"].head(count).tolist()
    return texts


def finalists(texts: Sequence[str], screening: str | Path | None) -> list[str]:
    """The terms of the finals: the given ones, or the `best_terms` of a screening's table.

    Raises:
        InputError: neither or both are given, or the table cannot be read.
    """
    if bool(texts) == (screening is not None):
        raise InputError(f"terms: expected terms or the table of a screening; got {'both' if texts else 'neither'}")
    if screening is None:
        return list(texts)
    return best_terms(read_stage(screening))


def read_stage(path: str | Path) -> DataFrame:
    """Read the table of a stage; older tables have no ``dataset``, which was MNIST.

    Raises:
        InputError: the file cannot be read or is not such a table.
    """
    needed = ("family", "method", "term", "regularizer", "seed", "calibration")
    table = read_table(path, "a table that tsnn-uq ablation wrote", needed)
    if "dataset" not in table:
        table.insert(0, "dataset", "mnist")
    return table
