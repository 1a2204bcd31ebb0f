"""A table of how well scores detect near and far out-of-distribution sets, as in OpenOOD."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from torch import Tensor

from tsnn_uq.checks import InputError, check_choice
from tsnn_uq.metrics.functional import fpr_at_tpr, ood_aupr_in, ood_aupr_out, ood_auroc

if TYPE_CHECKING:
    from pandas import DataFrame

__all__ = ["detection_table"]

MEAN = "mean"
_MEASURES = {"auroc": ood_auroc, "aupr_in": ood_aupr_in, "aupr_out": ood_aupr_out, "fpr95": fpr_at_tpr}


def detection_table(
    inside: Mapping[str, Tensor], outside: Mapping[str, Mapping[str, Tensor]], *, near: Collection[str] = ()
) -> DataFrame:
    """Detection of near and far out-of-distribution sets by each score, following OpenOOD.

    See Zhang et al. 2023, arXiv 2306.09301. Out-of-distribution is the positive class, as in `tsnn_uq.metrics.ood`.

    Args:
        inside: by name of the score, its values for the in-distribution test inputs [N]; high for unsure inputs.
        outside: by data set, the same scores of its inputs [M].
        near: names of the near sets; the others are far.

    Returns:
        A row for each ``score``, ``distance`` ("near" or "far") and ``data``, with the fractions ``auroc``,
        ``aupr_in``, ``aupr_out`` and ``fpr95``, and the number of ``inputs`` M. The last row of each distance, with
        ``data`` "mean", has the means over its sets.

    Raises:
        InputError: there are no data sets or scores, a near set is unknown, data sets have different scores, or scores
            are invalid.

    Example:
        >>> import torch
        >>> table = detection_table({"s": torch.tensor([0.1, 0.2])}, {"a": {"s": torch.tensor([0.2, 0.3])}})
        >>> print(table[["distance", "data", "auroc"]].to_string(index=False))
        distance data  auroc
             far    a  0.875
             far mean  0.875
    """
    import pandas as pd

    if not outside or not inside:
        raise InputError("outside: expected at least one data set and one score; got none")
    for name in near:
        check_choice("near", name, outside)
    for name, scores in outside.items():
        if MEAN in outside or set(scores) != set(inside):
            raise InputError(f"outside: expected the scores {', '.join(inside)}; got {', '.join(scores)} of {name}")
    rows = []
    for score, own in inside.items():
        for distance in ("near", "far"):
            names = [name for name in outside if (name in near) == (distance == "near")]
            counts = {name: len(outside[name][score]) for name in names}
            values = {
                name: {measure: float(function(own, outside[name][score])) for measure, function in _MEASURES.items()}
                for name in names
            }
            if names:
                counts[MEAN] = sum(counts.values())
                values[MEAN] = {
                    measure: sum(of_set[measure] for of_set in values.values()) / len(names) for measure in _MEASURES
                }
            common = {"score": score, "distance": distance}
            rows += [common | {"data": name, "inputs": counts[name]} | values[name] for name in values]
    return pd.DataFrame(rows)
