"""Selective prediction and out-of-distribution detection: uses of an uncertainty that do not depend on its scale."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
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
from tsnn_uq.results.figures.captions import explain, foreign_name
from tsnn_uq.results.figures.style import Array, MethodStyle, as_tensor, in_order, method_styles, new_figure, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from pandas import DataFrame

__all__ = ["SCORES", "seen_corners", "selective_curves", "selective_table"]

SCORES: dict[str, Callable[[Tensor], Tensor]] = {
    "predictive-entropy": lambda probs: predictive_entropy(probs, reduction="none"),
    "mutual-information": lambda probs: mutual_information(probs, reduction="none"),
    "predictive-variance": lambda probs: predictive_variance(probs, reduction="none"),
    "max-probability": lambda probs: maximum_softmax_score(probs.mean(0)),
}
"""By name, a function from Monte Carlo probabilities [S, N, C] to the uncertainty of each input [N]."""

_POINTS = 400  # per risk-coverage curve; more cannot be distinguished in print


def selective_table(
    predictions: Mapping[str, tuple[Array, Array]],
    score: str = "predictive-entropy",
    outlier: Mapping[str, Array] | None = None,
) -> DataFrame:
    """The numbers of `selective_curves`: risk against coverage, and ROC curves of foreign inputs.

    Args:
        predictions: for each method, probabilities [S, N, C] (samples, inputs, classes) and class numbers [N].
        score: the uncertainty, a key of `SCORES`; ``"max-probability"`` is one minus that of the mean prediction.
        outlier: for some of these methods, probabilities [S, M, C] of foreign inputs.

    Returns:
        Rows with ``curve`` ``"risk-coverage"`` have at most 400 evenly spaced points for each ``method``: the share of
        accepted inputs, ``coverage``, and the share of errors among them, ``risk`` (see
        `tsnn_uq.metrics.selective.risk_coverage_curve`). The same in all rows of a method are ``inputs`` (N), ``aurc``
        and ``augrc``.

        With `outlier` there are also rows with ``curve`` ``"roc"``, for the detection of foreign inputs, the positive
        class: ``false_positive_rate`` (of own inputs) and ``true_positive_rate``, at corners of scikit-learn's
        ``roc_curve``, without those that cannot be distinguished in print. The same in all rows of a method are
        ``outliers`` (M), ``auroc`` and ``fpr95``. All rows have ``score`` and ``samples`` (S).

    Raises:
        InputError: the score is unknown, there is no method or no input, `outlier` has a method that is not in
            `predictions`, or arrays are not probabilities or labels.
    """
    import pandas as pd

    for name in outlier or ():
        check_choice("outlier", name, predictions)
    tables = [_risk_rows(method, *predictions[method], score) for method in in_order(predictions)]
    if outlier:
        tables += [_roc_rows(method, predictions[method][0], outlier[method], score) for method in in_order(outlier)]
    return pd.concat(tables, ignore_index=True).assign(score=score)


def _risk_rows(method: str, probs: Array, labels: Array, score: str) -> DataFrame:
    import pandas as pd

    probs, target = as_tensor(probs), as_tensor(labels)
    uncertainty = _uncertainty(probs, score)
    target = check_labels("target", target, classes=probs.shape[-1], count=probs.shape[1])
    correct = probs.mean(0).argmax(-1) == target
    curve = risk_coverage_curve(uncertainty, correct)
    count = len(target)
    chosen = np.unique(np.linspace(1, count, min(count, _POINTS)).round().astype(int)) - 1
    columns = {
        "curve": "risk-coverage",
        "method": method,
        "coverage": curve.coverage[chosen],
        "risk": curve.risk[chosen],
        "inputs": count,
        "samples": len(probs),
        "aurc": aurc(uncertainty, correct).item(),
        "augrc": augrc(uncertainty, correct).item(),
    }
    return pd.DataFrame(columns)


def _roc_rows(method: str, probs: Array, outlier: Array, score: str) -> DataFrame:
    import pandas as pd
    from sklearn.metrics import roc_curve

    own, foreign = (_uncertainty(as_tensor(array), score) for array in (probs, outlier))
    kinds = np.repeat([0, 1], [len(own), len(foreign)])
    false, true, _ = roc_curve(kinds, np.concatenate([own.numpy(), foreign.numpy()]))
    columns = {
        "curve": "roc",
        "method": method,
        "false_positive_rate": false,
        "true_positive_rate": true,
        "samples": len(probs),
        "outliers": len(foreign),
        "auroc": ood_auroc(own, foreign).item(),
        "fpr95": fpr_at_tpr(own, foreign).item(),
    }
    return pd.DataFrame(columns)[seen_corners(false, true)]


def seen_corners(false: NDArray[np.float64], true: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Select the visible corners of a ROC curve with a logarithmic axis: the first in each of 300 x 300 cells.

    Args:
        false: false-positive rates [K], ascending.
        true: true-positive rates [K].

    Returns:
        [K] bool; always true for the last corner and for the first one with a positive rate.
    """
    low = false[false > 0].min(initial=1)
    decades = np.log10(np.maximum(false, low) / low) / max(1e-9, -np.log10(low))
    cells = np.stack([np.floor(300 * decades), np.floor(300 * true), false > 0])
    seen = np.append(True, (np.diff(cells) != 0).any(0))
    seen[-1] = True
    return seen


def _uncertainty(probs: Tensor, score: str) -> Tensor:
    check_probabilities("mc_probs", probs, "[S, N, C]")
    if not probs.shape[1]:
        raise InputError("predictions: expected at least one input; got none (N = 0)")
    return SCORES[check_choice("score", score, SCORES)](probs)


def selective_curves(table: DataFrame) -> Figure:
    """Risk against coverage and, if the table has them, ROC curves of foreign inputs.

    The axis of the risk is logarithmic, with zero at the bottom: a curve is 0 until the first error is accepted.
    The false-positive rate is logarithmic too, since a detector should flag few of the own inputs. FPR95 is where a
    curve crosses the dashed line.

    Args:
        table: as returned by `selective_table`.

    Returns:
        The figure, as wide as a column for one panel, else a page.

    Raises:
        InputError: the table has no method.
    """
    looks = method_styles(table["method"])
    selective, detection = (table[table["curve"] == curve] for curve in ("risk-coverage", "roc"))
    panels = 2 if len(detection) else 1
    with style():
        figure = new_figure(3.0, panels)
        axes = figure.subplots(1, panels, squeeze=False)[0]
        _draw_risk(axes[0], selective, looks)
        roc = ""
        if len(detection):
            _draw_roc(axes[1], detection, foreign_name(table), looks)
            roc = (
                f"Right: share of {foreign_name(table)} above a threshold on the same uncertainty, against the share "
                "of own test inputs above it; dashed: 95 %, where FPR95 is read."
            )
        explain(
            figure,
            table,
            f"{'Left: e' if roc else 'E'}rrors among the inputs with the lowest "
            f"{_score_name(table['score'].iloc[0])}, which the network accepts; coverage is their share of all inputs, "
            "and a curve at 0 has no errors.",
            "AURC is the area under the curve (Geifman and El-Yaniv 2017), AUGRC its generalized form (Traub et al. "
            "2024); less is better.",
            roc,
        )
    return figure


def _score_name(score: str) -> str:
    """Name of an uncertainty in a sentence."""
    return "one minus the largest probability" if score == "max-probability" else score.replace("-", " ")


def _line(look: MethodStyle) -> dict[str, Any]:
    return {"color": look.color, "linestyle": look.line}


def _draw_risk(axes: Axes, table: DataFrame, looks: Mapping[str, MethodStyle]) -> None:
    from matplotlib.ticker import LogLocator, NullFormatter

    errors = table[table["risk"] > 0]
    lowest = 100 * errors["risk"].min() if len(errors) else 1.0
    foot = lowest / 2  # zero is drawn here
    for method in looks:
        rows = table[table["method"] == method]
        first = rows.iloc[0]
        areas = (
            f"AURC {1000 * first['aurc']:.2f} \N{PER MILLE SIGN}, AUGRC {1000 * first['augrc']:.2f} \N{PER MILLE SIGN}"
        )
        risk = (100 * rows["risk"]).clip(lower=foot)
        axes.plot(100 * rows["coverage"], risk, label=f"{method}: {areas}", **_line(looks[method]))
    highest = 130 * table["risk"].max() if len(errors) else 100.0
    axes.set(yscale="log", ylim=(foot / 1.2, highest))
    ticks = [tick for tick in LogLocator(subs=(1, 2, 5)).tick_values(lowest, highest) if lowest <= tick <= highest]
    axes.set_yticks([foot, *ticks], ["0", *(f"{tick:g}" for tick in ticks)])
    axes.yaxis.set_minor_formatter(NullFormatter())
    first_error = errors["coverage"].min() if len(errors) else 1.0
    axes.set_xlim(max(0, 10 * np.floor(10 * first_error) - 10), 100)
    axes.locator_params(axis="x", nbins=5)
    axes.set(xlabel="Coverage (%)", ylabel="Risk: errors among accepted inputs (%)")
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0))


def _draw_roc(axes: Axes, table: DataFrame, outlier: str, looks: Mapping[str, MethodStyle]) -> None:
    for method in dict.fromkeys(table["method"]):
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
