"""Choose the weight of each term, and the terms of the finals, by the validation part alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tsnn_uq.checks import InputError, check_positive
from tsnn_uq.results.tables import read_table

if TYPE_CHECKING:
    from pandas import DataFrame, Series

__all__ = [
    "ACCURACY_LOSS",
    "best_terms",
    "chosen_everywhere",
    "chosen_weights",
    "compare_weights",
    "finalists",
    "read_stage",
]

ACCURACY_LOSS = 0.002  # 5,000 validation images do not resolve smaller differences at an error of 4 %
AURC_FACTOR = 1.1
_GROUP = ["dataset", "family", "method"]
_COMPARED = [*_GROUP, "term", "regularizer", "accuracy", "gain", "acceptable", "loses"]


def chosen_weights(rows: DataFrame) -> DataFrame:
    """Choose the weight of each term: the lowest variance on correct predictions without a loss of accuracy.

    For each family, method and term, a weight is acceptable if its validation accuracy is at most 0.2 points below that
    of the same network without a term, and its validation AURC at most a tenth above. Among the acceptable weights, the
    one with the smallest variance on correct predictions is chosen; if there are none, the most accurate. All values
    are after temperature scaling, and means over the seeds that all weights have.

    Args:
        rows: rows of a stage, with ``dataset``, ``family``, ``method``, ``term``, ``regularizer``, ``seed``,
            ``calibration`` and the ``validation_...`` columns; the term of rows without one is ``"none"``.

    Returns:
        A row for each family, method and term: ``regularizer`` (the chosen text), ``acceptable`` (whether any weight
            was), and ``gain``, the share by which the term reduces the variance on correct predictions.

    Raises:
        InputError: there are no rows without a term to compare with.

    Example:
        >>> import pandas as pd
        >>> common = {"dataset": "mnist", "family": "dropout", "method": "direct", "seed": 0}
        >>> common["calibration"] = "temperature"
        >>> texts = {"none": (0.96, 8), "variance:1": (0.96, 6), "variance:5": (0.93, 3)}
        >>> rows = [common | {"term": text.split(":")[0], "regularizer": text, "validation_accuracy": accuracy,
        ...         "validation_aurc": 0.002, "validation_predictive_variance_correct": variance}
        ...         for text, (accuracy, variance) in texts.items()]
        >>> chosen_weights(pd.DataFrame(rows))[["regularizer", "gain"]].values.tolist()
        [['variance:1', 0.25]]
    """
    import pandas as pd

    compared = compare_weights(rows)
    chosen = [
        {"family": names[1], "method": names[2], "term": names[3], **_best_weight(part)}
        for names, part in compared.groupby([*_GROUP, "term"], sort=False)
    ]
    return pd.DataFrame(chosen, columns=["family", "method", "term", "regularizer", "acceptable", "gain"])


def chosen_everywhere(*tables: DataFrame, method: str = "direct") -> DataFrame:
    """Choose the weight of each term for several data sets and network families at once, and rank the terms.

    The rule is that of `chosen_weights`, applied to all of them: a weight is acceptable if it is so for each family on
    each data set. Among the acceptable weights of a term, the one with the largest mean gain is chosen; if there are
    none, the most accurate. Means are over data sets, of the means over the families on each.

    Args:
        tables: tables of one stage, each with other data sets or families; columns as for `chosen_weights`.
        method: the training method; rows of others are ignored.

    Returns:
        A row for each term, acceptable ones first, then by gain: ``term``, ``regularizer`` (the chosen text),
            ``acceptable`` (everywhere), the mean ``gain``, each single gain in a column such as ``mnist dropout`` (NaN
            where the text was not run), and ``loses``: where and how the text loses, see `compare_weights`.

    Raises:
        InputError: there are no terms with this method, two tables have the same data set and family, or rows without a
            term are missing.
    """
    import pandas as pd

    parts = [part[part["method"] == method] for part in map(compare_weights, tables)]
    groups = [" ".join(names) for part in parts for names in part[_GROUP[:2]].drop_duplicates().to_numpy().tolist()]
    if not groups or len(set(groups)) < len(groups):
        wanted = f"tables of different data sets or families, with terms of method {method}"
        raise InputError(f"tables: expected {wanted}; got {', '.join(groups) or 'none'}")
    compared = pd.concat(parts)
    compared["group"] = compared["dataset"] + " " + compared["family"]
    ranked = []
    for term, part in compared.groupby("term", sort=False):
        best = _best_weight(part, groups=len(groups))
        own = part[part["regularizer"] == best["regularizer"]].set_index("group")
        losses = own["loses"].reindex(groups, fill_value="not run")
        gains = own["gain"].reindex(groups).to_dict()
        told = "; ".join(f"{group}: {loss}" for group, loss in losses.items() if loss)
        ranked.append({"term": term, **best, **gains, "loses": told})
    return pd.DataFrame(ranked).sort_values(["acceptable", "gain"], ascending=False, kind="stable", ignore_index=True)


def compare_weights(rows: DataFrame) -> DataFrame:
    """Compare each weight of each term with the same network without a term, on the validation part.

    Args:
        rows: as for `chosen_weights`, which also defines the errors.

    Returns:
        A row for each data set, family, method and text: its ``term``, the difference in ``accuracy``, the ``gain``,
            whether the weight is ``acceptable``, and what it ``loses``, in words: accuracy or AURC beyond what is
            acceptable, or that the variance does not fall.
    """
    import pandas as pd

    rows = rows[rows["calibration"] == "temperature"]
    found = []
    for group, of_group in rows.groupby(_GROUP, sort=False):
        without = of_group[of_group["term"] == "none"]
        for term, part in of_group[of_group["term"] != "none"].groupby("term", sort=False):
            shared = set(without["seed"]).intersection(*(of["seed"] for _, of in part.groupby("regularizer")))
            if not shared:
                wanted = f"{', '.join(map(str, group[1:]))} without a term for the seeds of {term}"
                raise InputError(f"rows: expected {wanted}; got none")
            base = without[without["seed"].isin(shared)].mean(numeric_only=True)
            means = part[part["seed"].isin(shared)].groupby("regularizer", sort=False).mean(numeric_only=True)
            found += [[*group, term, text, *_compare(mean, base)] for text, mean in means.iterrows()]
    return pd.DataFrame(found, columns=_COMPARED)


def _compare(mean: Series, base: Series) -> tuple[float, float, bool, str]:
    """Difference in accuracy, gain, whether the means of a weight are acceptable, and what it loses."""
    accuracy, aurc, cost = (f"validation_{name}" for name in ("accuracy", "aurc", "predictive_variance_correct"))
    difference = mean[accuracy] - base[accuracy]
    if math.isnan(difference):
        return difference, math.nan, False, "no temperature"
    gain = 1 - mean[cost] / base[cost] if base[cost] else math.nan  # the variance of networks that never spike is 0
    loses = []
    if mean[accuracy] < base[accuracy] - ACCURACY_LOSS:
        loses.append(f"accuracy {100 * difference:+.2f} points")
    if mean[aurc] > AURC_FACTOR * base[aurc]:
        loses.append(f"AURC {100 * (mean[aurc] / base[aurc] - 1):+.0f} %")
    acceptable = not loses
    if gain < 0:
        loses.append(f"variance {-100 * gain:+.0f} %")
    return difference, gain, acceptable, ", ".join(loses)


def _best_weight(compared: DataFrame, groups: int = 1) -> dict[str, Any]:
    """The best weight of a term that was compared in a number of groups of a data set and a family."""
    by_text = compared.groupby("regularizer", sort=False)
    fine = by_text["acceptable"].all() & (by_text.size() == groups)
    means = compared.groupby(["regularizer", "dataset"], sort=False)[["accuracy", "gain"]].mean()
    means = means.groupby("regularizer", sort=False).mean()
    ranks = means["gain"][fine] if fine.any() else means["accuracy"]
    best = str(ranks.fillna(-math.inf).idxmax())
    return {"regularizer": best, "acceptable": bool(fine.any()), "gain": float(means["gain"][best])}


def best_terms(*tables: DataFrame, method: str = "direct", count: int = 2) -> list[str]:
    """The texts of the acceptable terms with the largest gain, best first; see `chosen_everywhere`.

    Raises:
        InputError: fewer than `count` terms are acceptable.
    """
    check_positive("count", count, integer=True)
    ranked = chosen_everywhere(*tables, method=method)
    fine: list[str] = ranked.loc[ranked["acceptable"], "regularizer"].tolist()
    if len(fine) < count:
        raise InputError(f"count: expected at most the {len(fine)} acceptable terms of {method}; got {count}")
    return fine[:count]


def finalists(texts: Sequence[str], screenings: Sequence[str | Path] = ()) -> list[str]:
    """The terms of the finals: the given ones, or the `best_terms` of the tables of screenings.

    Raises:
        InputError: neither or both are given, or a table cannot be read.
    """
    if bool(texts) == bool(screenings):
        raise InputError(f"terms: expected terms or the table of a screening; got {'both' if texts else 'neither'}")
    return list(texts) or best_terms(*map(read_stage, screenings))


def read_stage(path: str | Path) -> DataFrame:
    """Read the table of a stage.

    Raises:
        InputError: the file cannot be read or is not such a table.
    """
    needed = ("dataset", "family", "method", "term", "regularizer", "seed", "calibration")
    return read_table(path, "a table that tsnn-uq ablation wrote", needed)
