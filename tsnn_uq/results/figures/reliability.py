"""Reliability diagrams: accuracy against confidence, with the number of inputs in each bin."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tsnn_uq.metrics.functional import expected_calibration_error, reliability_curve
from tsnn_uq.results.figures.captions import explain
from tsnn_uq.results.figures.style import Array, MethodStyle, as_tensor, in_order, method_styles, new_figure, style
from tsnn_uq.results.measures import MEASURES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from pandas import DataFrame

__all__ = ["reliability_diagram", "reliability_table"]


def reliability_table(predictions: Mapping[str, tuple[Array, Array]], bins: int = 15) -> DataFrame:
    """The numbers of a `reliability_diagram`: one row per method and bin.

    Args:
        predictions: for each method, probabilities [N, C], or Monte Carlo samples [S, N, C], which are averaged; and
            class numbers [N].
        bins: number of bins of equal width on [0, 1].

    Returns:
        Columns ``method``; ``bin_low``, ``bin_high``; ``count`` of inputs in the bin; their mean ``confidence`` and
        their ``accuracy`` with its 95 % Wilson interval ``accuracy_low``, ``accuracy_high``, all NaN in an empty bin;
        and, the same in all rows of a method, ``inputs`` (N), ``ece`` and, with Monte Carlo samples, ``samples`` (S).
        Values are fractions, not percent.

    Raises:
        InputError: there is no method, or as for `tsnn_uq.metrics.functional.reliability_curve`.
    """
    import pandas as pd

    tables = []
    for method in in_order(predictions):
        given, target = (as_tensor(array) for array in predictions[method])
        probs = given.mean(0) if given.ndim == 3 else given
        curve = reliability_curve(probs, target, bins)
        columns: dict[str, Any] = {
            "method": method,
            "bin_low": curve.edges[:-1],
            "bin_high": curve.edges[1:],
            "count": curve.count,
            "confidence": curve.confidence,
            "accuracy": curve.accuracy,
            "accuracy_low": curve.low,
            "accuracy_high": curve.high,
            "inputs": len(target),
            "ece": expected_calibration_error(probs, target, bins).item(),
        }
        columns |= {"samples": len(given)} if given.ndim == 3 else {}
        tables.append(pd.DataFrame(columns))
    return pd.concat(tables, ignore_index=True)


def reliability_diagram(table: DataFrame) -> Figure:
    """Accuracy in each bin of confidence, side by side for up to four methods, with a histogram of the confidence.

    Points are at the mean confidence of their bin and have 95 % Wilson intervals. On the dashed diagonal, accuracy
    equals confidence. Empty bins have no point. The histograms share the axis of counts, which is logarithmic if one
    bin has more than half of a method's inputs.

    Args:
        table: as returned by `reliability_table`.

    Returns:
        The figure, as wide as a column for one method, else a page.

    Raises:
        InputError: the table has no method.
    """
    looks = method_styles(table["method"])
    saturated = bool((2 * table["count"] > table["inputs"]).any())
    with style():
        figure = new_figure(3.2, len(looks))
        axes = figure.subplots(2, len(looks), sharex=True, sharey="row", squeeze=False, height_ratios=[5, 2])
        for (curve, histogram), (method, look) in zip(axes.T, looks.items(), strict=True):
            rows = table[table["method"] == method]
            _draw_curve(curve, rows, method, look)
            _draw_histogram(histogram, rows, look)
        axes[0, 0].set(
            ylabel="Accuracy", xlim=(-0.02, 1.02), ylim=(0, 1), xticks=[0, 0.5, 1], xticklabels=["0", "0.5", "1"]
        )
        axes[1, 0].set_ylabel("Inputs (log)" if saturated else "Inputs")
        if saturated:
            axes[1, 0].set(yscale="log", ylim=(0.7, None))  # so that a bin of one input is visible
        figure.align_ylabels(axes[:, 0])
        bins = table.groupby("method").size().max()
        explain(
            figure,
            table,
            f"Above: accuracy of the inputs in each of {bins} bins of confidence, at their mean confidence, with 95 % "
            "Wilson intervals; on the dashed line accuracy equals confidence.",
            "Below: how many inputs have that confidence. ECE: expected calibration error.",
        )
    return figure


def _draw_curve(axes: Axes, rows: DataFrame, method: str, look: MethodStyle) -> None:
    accuracy = rows["accuracy"]  # NaN in an empty bin interrupts the line
    # Where all or none are right, the interval's end may lie within rounding on the wrong side of the share.
    ends = [(accuracy - rows["accuracy_low"]).clip(lower=0), (rows["accuracy_high"] - accuracy).clip(lower=0)]
    axes.plot([0, 1], [0, 1], color="0.6", linestyle=(0, (4, 3)), linewidth=0.8, zorder=1)
    axes.errorbar(
        rows["confidence"],
        accuracy,
        yerr=ends,
        color=look.color,
        marker=look.marker,
        linestyle=look.line,
        linewidth=0.8,
        elinewidth=0.8,
        capsize=1.5,
        clip_on=False,
    )
    axes.set_title(f"{method}\nECE {MEASURES['ece'].text(rows['ece'].iloc[0])}")


def _draw_histogram(axes: Axes, rows: DataFrame, look: MethodStyle) -> None:
    bars: dict[str, Any] = {"align": "edge", "facecolor": "white", "edgecolor": look.color, "hatch": look.hatch}
    widths = rows["bin_high"] - rows["bin_low"]
    axes.bar(rows["bin_low"], rows["count"], widths, linewidth=0.8, **bars)
    axes.set_xlabel("Confidence")
