"""Histograms of the uncertainty of right, wrong and out-of-distribution inputs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from tsnn_uq.checks import InputError, check_choice, check_labels, check_positive, check_probabilities
from tsnn_uq.metrics.functional import mutual_information, predictive_entropy
from tsnn_uq.results.figures.captions import explain, foreign_name
from tsnn_uq.results.figures.style import Array, as_tensor, in_order, method_styles, new_figure, style
from tsnn_uq.results.measures import MEASURES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from pandas import DataFrame

__all__ = ["entropy_histogram", "entropy_table"]

_QUANTITIES = {"predictive_entropy": predictive_entropy, "mutual_information": mutual_information}
# "COLOR" is replaced by the method's; fill, hatch and dashes also distinguish the groups in grey.
_GROUPS: dict[str, dict[str, Any]] = {
    "right": {"fill": True, "facecolor": "COLOR", "alpha": 0.35, "linewidth": 0},
    "wrong": {"fill": True, "facecolor": "none", "edgecolor": "COLOR", "hatch": "/////", "linewidth": 0.8},
    "foreign": {"color": "0.45", "linestyle": (0, (3, 1.5)), "linewidth": 1.2},
}


def entropy_table(
    predictions: Mapping[str, tuple[Array, Array]], *, outlier: Mapping[str, Array] | None = None, bins: int = 30
) -> DataFrame:
    """The numbers of an `entropy_histogram`: one row per quantity, method, group and bin.

    Args:
        predictions: for each method, probabilities [S, N, C] (samples, inputs, classes) and class numbers [N].
        outlier: for some of these methods, probabilities [S, M, C] of out-of-distribution inputs.
        bins: number of bins of equal width, from 0 to log C for the entropy (its bound), and to the largest value
            of any method for the mutual information; the last one is closed.

    Returns:
        Columns ``quantity`` ("predictive_entropy" or "mutual_information", both in nats); ``method``; ``group``
        ("right", "wrong" or "foreign"); ``bin_low``, ``bin_high``; ``count``; ``share``, the count divided by the
        size of the group (NaN if that is empty); and, the same in all rows of a method, ``inputs`` (N) and ``samples``
        (S).

    Raises:
        InputError: there is no method, `outlier` has a method that is not in `predictions`, networks have different
            numbers of classes, or arrays are not probabilities or labels.
    """
    import pandas as pd

    check_positive("bins", bins, integer=True)
    groups = _split(predictions, outlier or {})
    bound = _largest_entropy(groups)
    tables = []
    for quantity, function in _QUANTITIES.items():
        values = {key: function(probs, reduction="none").double().numpy() for key, probs in groups.items()}
        top = bound
        if quantity == "mutual_information":
            top = max(value.max(initial=0) for value in values.values()) or bound
        edges = np.linspace(0, top, bins + 1)
        for (method, group), value in values.items():
            count = np.histogram(value.clip(0, top), edges)[0]  # rounding may put an entropy above log C
            share = count / len(value) if len(value) else np.full(bins, np.nan)
            columns = {"quantity": quantity, "method": method, "group": group, "bin_low": edges[:-1]}
            columns |= {"bin_high": edges[1:], "count": count, "share": share}
            sizes = {"inputs": len(predictions[method][1]), "samples": len(groups[method, group])}
            tables.append(pd.DataFrame(columns | sizes))
    return pd.concat(tables, ignore_index=True)


def _split(
    predictions: Mapping[str, tuple[Array, Array]], outlier: Mapping[str, Array]
) -> dict[tuple[str, str], Tensor]:
    """Probabilities [S, n, C] of each (method, group), with methods in the order of figures."""
    for name in outlier:
        check_choice("outlier", name, predictions)
    groups = {}
    for method in in_order(predictions):
        probs, target = (as_tensor(array) for array in predictions[method])
        check_probabilities("mc_probs", probs, "[S, N, C]")
        target = check_labels("target", target, classes=probs.shape[-1], count=probs.shape[1])
        if not len(target):
            raise InputError(f"predictions: expected at least one input for {method}; got none (N = 0)")
        right = probs.mean(0).argmax(-1) == target
        groups[method, "right"], groups[method, "wrong"] = probs[:, right], probs[:, ~right]
        if method in outlier:
            groups[method, "foreign"] = as_tensor(outlier[method])
    return groups


def _largest_entropy(groups: Mapping[tuple[str, str], Tensor]) -> float:
    classes = sorted({probs.shape[-1] for probs in groups.values()})
    if len(classes) > 1 or classes[0] < 2:
        raise InputError(f"predictions: expected one number of classes, at least two, for all methods; got {classes}")
    return math.log(classes[0])


def entropy_histogram(table: DataFrame) -> Figure:
    """Predictive entropy (top) and mutual information (bottom) of right and wrong predictions, a column per method.

    Counts are divided by the size of their group, which is given above the panel, and the axis is logarithmic. A
    hundred wrong predictions are thus visible beside ten thousand right ones, and so are the few that are wrong *and*
    certain. All panels share the vertical axis, and those of a row the horizontal axis.

    Args:
        table: as returned by `entropy_table`.

    Returns:
        The figure, as wide as a column for one method, else a page.

    Raises:
        InputError: the table has no method.
    """
    looks = method_styles(table["method"])
    with style():
        figure = new_figure(3.8, len(looks))
        axes = figure.subplots(2, len(looks), sharex="row", sharey=True, squeeze=False)
        for (row, quantity), (column, method) in ((r, c) for r in enumerate(_QUANTITIES) for c in enumerate(looks)):
            rows = table[(table["quantity"] == quantity) & (table["method"] == method)]
            _draw_panel(axes[row, column], rows, looks[method].color)
            axes[row, column].set_xlabel(MEASURES[quantity].label)
            highest = rows["bin_high"].max()
            axes[row, 0].set(ylabel="Share of group", xlim=(0, 1.02 * highest))  # the last bin has a right edge
            if row == 0:
                axes[row, column].set_title(_title(method, rows, foreign_name(table)))
        smallest = table.loc[table["count"] > 0, "share"].min()
        axes[0, 0].set(yscale="log", ylim=(smallest / 2, 1.2))
        groups = list(dict.fromkeys(table["group"]))
        _draw_legend(figure, groups, foreign_name(table))
        explain(
            figure,
            table,
            f"Share of each group ({', '.join(groups[:-1])} and {groups[-1]}) in bins of uncertainty, on a logarithmic "
            "axis; groups are divided by their own size, which is given above. Right and wrong: whether the mean "
            "prediction is the true class.",
        )
    return figure


def _look(group: str, color: str) -> dict[str, Any]:
    return {name: color if value == "COLOR" else value for name, value in _GROUPS[group].items()}


def _draw_panel(axes: Axes, rows: DataFrame, color: str) -> None:
    for group, part in rows.groupby("group", sort=False):
        if part["count"].sum() > 0:
            edges = [*part["bin_low"], part["bin_high"].iloc[-1]]
            axes.stairs(part["share"], edges, baseline=1e-12, **_look(str(group), color))


def _title(method: str, rows: DataFrame, foreign: str) -> str:
    counts = rows.groupby("group", sort=False)["count"].sum()
    sizes = [f"{size:,} {foreign if group == 'foreign' else group}" for group, size in counts.items()]
    return "\n".join([method, ", ".join(sizes[:2]), *sizes[2:]])


def _draw_legend(figure: Figure, groups: list[str], foreign: str) -> None:
    from matplotlib.patches import Patch

    handles = []
    for group in groups:
        look = _look(group, "0.2")
        if group == "foreign":
            look.update(fill=False, edgecolor=look.pop("color"))
        handles.append(Patch(label=foreign if group == "foreign" else group, **look))
    figure.legend(handles=handles, loc="outside upper center", ncols=len(groups))
