"""OpenOOD's table as a heat map: a panel per method, a row per score and a column per foreign set."""

from __future__ import annotations

from pathlib import PurePath
from typing import TYPE_CHECKING

from tsnn_uq.checks import check_choice
from tsnn_uq.results.figures.captions import explain
from tsnn_uq.results.figures.style import in_order, new_figure, style

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame

__all__ = ["detection_heatmap"]

_MEASURES = {
    "auroc": "AUROC (%)",
    "aupr_in": "AUPR, own inputs positive (%)",
    "aupr_out": "AUPR, foreign inputs positive (%)",
    "fpr95": "FPR at 95 % TPR (%)",
}


def detection_heatmap(table: DataFrame) -> Figure:
    """Numbers on shades, the best of each column in bold; near sets on the left, far sets on the right, with means.

    Args:
        table: as returned by `tsnn_uq.results.studies.foreign_detection`. A column ``shown`` selects the measure:
            "auroc" (the default), "aupr_in", "aupr_out" or "fpr95".

    Returns:
        The figure, as wide as a column for one method, else a page.

    Raises:
        InputError: the measure is unknown, or the table has no method.
    """
    measure = check_choice("measure", table["shown"].iloc[0] if "shown" in table else "auroc", _MEASURES)
    methods = in_order(table["method"].unique())
    scores = list(dict.fromkeys(table["score"]))
    sets = list(dict.fromkeys(zip(table["distance"], table["data"], strict=True)))
    labels = [f"{distance}: mean" if name == "mean" else PurePath(name).name for distance, name in sets]
    across = min(len(methods), 2)
    down = -(-len(methods) // across)
    best = "min" if measure == "fpr95" else "max"
    with style():
        figure = new_figure(down * (0.4 + 0.19 * len(scores)) + 0.3 + 0.055 * max(map(len, labels)), across)
        axes_of = figure.subplots(down, across, squeeze=False, sharex=True, sharey=True).flat
        for axes, method in zip(axes_of, methods, strict=False):
            rows = table[table["method"] == method].set_index(["score", "distance", "data"])[measure]
            values = [[100 * float(rows[score, distance, name]) for distance, name in sets] for score in scores]
            shades = [[100 - value if best == "min" else value for value in row] for row in values]
            image = axes.imshow(shades, cmap="Blues", vmin=50, vmax=125, aspect="auto")  # dark text stays legible
            image.set_in_layout(False)
            columns = list(zip(*values, strict=True))
            for y, row in enumerate(values):
                for x, value in enumerate(row):
                    top = value == (min if best == "min" else max)(columns[x])
                    weight = "bold" if top else "normal"
                    axes.text(x, y, f"{value:.1f}", ha="center", va="center", fontsize=6, fontweight=weight)
            for x in range(1, len(sets)):
                if sets[x][0] != sets[x - 1][0]:
                    axes.axvline(x - 0.5, color="black", linewidth=0.8)
            axes.set_xticks(range(len(sets)), labels, rotation=90, fontsize=6)
            axes.set_yticks(range(len(scores)), scores, fontsize=6)
            axes.tick_params(length=0)
            axes.spines[:].set_visible(False)
            axes.set_title(method)
        for axes in figure.axes[len(methods) :]:
            axes.axis("off")
        figure.suptitle(_MEASURES[measure], fontsize=8)
        explain(
            figure,
            table,
            "How well each score (row) distinguishes foreign sets (columns, near ones left of the line, far ones right "
            f"of it) from the test inputs; {'less' if best == 'min' else 'more'} is better, the best of a column is "
            "bold. Entropy and mutual information are computed from Monte Carlo predictions, other scores from one "
            "pass without masks.",
        )
    return figure
