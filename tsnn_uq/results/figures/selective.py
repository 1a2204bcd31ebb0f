"""Selective prediction and out-of-distribution detection: what an uncertainty is good for, whatever its scale."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from tsnn_uq.checks import InputError, check_choice, check_labels, check_probabilities
from tsnn_uq.metrics.functional import (
    augrc,
    aurc,
    fpr_at_tpr,
    maximum_softmax_score,
    mutual_information,
    ood_auroc,
    predictive_entropy,
    predictive_variance,
    risk_coverage_curve,
)
from tsnn_uq.results.figures.style import Array, MethodStyle, as_tensor, in_order, method_styles, new_figure, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from pandas import DataFrame

__all__ = ["SCORES", "detection_table", "selective_curves", "selective_table"]

SCORES: dict[str, Callable[[Tensor], Tensor]] = {
    "predictive-entropy": lambda probs: predictive_entropy(probs, reduction="none"),
    "mutual-information": lambda probs: mutual_information(probs, reduction="none"),
    "predictive-variance": lambda probs: predictive_variance(probs, reduction="none"),
    "max-probability": lambda probs: maximum_softmax_score(probs.mean(0)),
}
"""From Monte Carlo probabilities [S, N, C] to an uncertainty of each input [N]."""

_POINTS = 1000  # of a risk-coverage curve: more cannot be told apart in print


def selective_table(predictions: Mapping[str, tuple[Array, Array]], score: str = "predictive-entropy") -> DataFrame:
    """Risk-coverage curves: the error that remains when only the least uncertain inputs are answered.

    Args:
        predictions: for each method, probabilities [S, N, C] (samples, inputs, classes) and class numbers [N].
        score: the uncertainty, a key of `SCORES`; ``"max-probability"`` is one minus that of the mean prediction.

    Returns:
        For each ``method`` a row for each of at most 1,000 evenly spaced numbers of accepted inputs: ``coverage`` and
        ``risk``, the errors among the accepted (fractions; see `tsnn_uq.metrics.selective.risk_coverage_curve`). Of the
        method as a whole ``inputs`` (N), ``aurc`` and ``augrc``.

    Raises:
        InputError: an unknown score, no method or input, or arrays that are no probabilities or labels.
    """
    import pandas as pd

    tables = []
    for method in in_order(predictions):
        probs, target = (as_tensor(array) for array in predictions[method])
        uncertainty = _uncertainty(probs, score)
        target = check_labels("target", target, classes=probs.shape[-1], count=probs.shape[1])
        correct = probs.mean(0).argmax(-1) == target
        curve = risk_coverage_curve(uncertainty, correct)
        count = len(target)
        chosen = np.unique(np.linspace(1, count, min(count, _POINTS)).round().astype(int)) - 1
        columns = {
            "method": method,
            "coverage": curve.coverage[chosen],
            "risk": curve.risk[chosen],
            "inputs": count,
            "aurc": aurc(uncertainty, correct).item(),
            "augrc": augrc(uncertainty, correct).item(),
        }
        tables.append(pd.DataFrame(columns))
    return pd.concat(tables, ignore_index=True)


def detection_table(
    predictions: Mapping[str, tuple[Array, Array]],
    outlier: Mapping[str, Array],
    score: str = "predictive-entropy",
) -> DataFrame:
    """ROC curves of telling out-of-distribution inputs, the positive class, by their uncertainty.

    Args:
        predictions: as in `selective_table`.
        outlier: for some of these methods, probabilities [S, M, C] of out-of-distribution inputs.
        score: as in `selective_table`.

    Returns:
        For each ``method`` the corners of its curve: ``false_positive_rate`` (of own inputs) and ``true_positive_rate``
        (fractions; inputs of equal uncertainty together, as scikit-learn's ``roc_curve``). Of the method as a whole
        ``outliers`` (M), ``auroc`` and ``fpr95``.

    Raises:
        InputError: outliers of a method that is not in `predictions`, or as `selective_table`.
    """
    import pandas as pd
    from sklearn.metrics import roc_curve

    for name in outlier:
        check_choice("outlier", name, predictions)
    tables = []
    for method in in_order(outlier):
        own, foreign = (_uncertainty(as_tensor(probs), score) for probs in (predictions[method][0], outlier[method]))
        kinds = np.repeat([0, 1], [len(own), len(foreign)])
        false, true, _ = roc_curve(kinds, np.concatenate([own.numpy(), foreign.numpy()]))
        columns = {
            "method": method,
            "false_positive_rate": false,
            "true_positive_rate": true,
            "outliers": len(foreign),
            "auroc": ood_auroc(own, foreign).item(),
            "fpr95": fpr_at_tpr(own, foreign).item(),
        }
        tables.append(pd.DataFrame(columns))
    return pd.concat(tables, ignore_index=True)


def _uncertainty(probs: Tensor, score: str) -> Tensor:
    check_probabilities("mc_probs", probs, "[S, N, C]")
    if not probs.shape[1]:
        raise InputError("predictions: expected at least one input; got none (N = 0)")
    return SCORES[check_choice("score", score, SCORES)](probs)


def selective_curves(selective: DataFrame, detection: DataFrame | None = None, *, outlier: str = "outliers") -> Figure:
    """Risk against coverage, and beside it, if given, ROC curves of out-of-distribution inputs.

    The risk is logarithmic: those accepted before a curve begins hold no error. So is the share of own inputs that are
    flagged, the false-positive rate, since a detector is to flag few; FPR95 is where a curve meets the dashed line.

    Args:
        selective: what `selective_table` returns.
        detection: what `detection_table` returns.
        outlier: what the out-of-distribution inputs are, for the title.

    Returns:
        The figure, a column wide for one panel, else a page.

    Raises:
        InputError: no method.
    """
    panels = 1 if detection is None else 2
    looks = method_styles(selective["method"])
    with style():
        figure = new_figure(3.0, panels)
        axes = figure.subplots(1, panels, squeeze=False)[0]
        _draw_risk(axes[0], selective, looks)
        if detection is not None:
            _draw_roc(axes[1], detection, outlier, looks)
    return figure


def _line(look: MethodStyle) -> dict[str, Any]:
    return {"color": look.color, "linestyle": look.line}


def _draw_risk(axes: Axes, table: DataFrame, looks: Mapping[str, MethodStyle]) -> None:
    from matplotlib.ticker import LogLocator, NullFormatter

    for method in in_order(table["method"]):
        rows = table[table["method"] == method]
        first = rows.iloc[0]
        areas = (
            f"AURC {1000 * first['aurc']:.2f} \N{PER MILLE SIGN}, AUGRC {1000 * first['augrc']:.2f} \N{PER MILLE SIGN}"
        )
        risk = 100 * rows["risk"].where(rows["risk"] > 0)  # no error: nothing to draw on a logarithmic axis
        axes.plot(100 * rows["coverage"], risk, label=f"{method}: {areas}", **_line(looks[method]))
    errors = table[table["risk"] > 0]
    if len(errors):
        axes.set(yscale="log", ylim=(50 * errors["risk"].min(), 130 * errors["risk"].max()))
        axes.set_xlim(10 * np.floor(min(9.0, 10 * errors["coverage"].min())), 100)
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter(NullFormatter())
    axes.locator_params(axis="x", nbins=5)
    axes.set(xlabel="Coverage (%)", ylabel="Risk: errors among accepted (%)")
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0))


def _draw_roc(axes: Axes, table: DataFrame, outlier: str, looks: Mapping[str, MethodStyle]) -> None:
    for method in in_order(table["method"]):
        rows = table[table["method"] == method]
        first = rows.iloc[0]
        label = f"{method}: AUROC {100 * first['auroc']:.2f} %, FPR95 {100 * first['fpr95']:.2f} %"
        false = 100 * rows["false_positive_rate"].where(rows["false_positive_rate"] > 0)
        axes.plot(false, 100 * rows["true_positive_rate"], label=label, **_line(looks[method]))
    low = 100 * table.loc[table["false_positive_rate"] > 0, "false_positive_rate"].min()
    guess = np.geomspace(low, 100, 200)
    grey: dict[str, Any] = {"color": "0.6", "linewidth": 0.8, "zorder": 1}
    axes.plot(guess, guess, label="guessing", **grey)
    axes.axhline(95, linestyle=(0, (4, 3)), **grey)
    axes.set(xscale="log", xlim=(low, 100), ylim=(0, 100))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set(xlabel="Flagged of own test inputs (%)", ylabel=f"Flagged of {outlier} (%)")
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0))
