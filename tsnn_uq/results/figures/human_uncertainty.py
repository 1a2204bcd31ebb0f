"""Uncertainty of networks compared with the uncertainty of people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tsnn_uq.results.figures.captions import explain
from tsnn_uq.results.figures.style import MethodStyle, method_styles, new_figure, style
from tsnn_uq.results.measures import CROSS_ENTROPY, GROUPED

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame

__all__ = ["doubt_figure"]


def doubt_figure(table: DataFrame) -> Figure:
    """Mean entropy of networks in groups of inputs by people's entropy, and correlations with confidence intervals.

    The legend has the cross-entropy of each network to people's answers, unless it is infinite.

    Args:
        table: as returned by `tsnn_uq.results.studies.compare_with_people`.

    Returns:
        The figure, as wide as a page.

    Raises:
        InputError: the table has no method.
    """
    looks = method_styles(name for name in table["method"].unique() if name != "people")
    with style():
        figure = new_figure(2.6, 2)
        left, right = figure.subplots(1, 2)
        correlations = table[~table["measure"].isin([CROSS_ENTROPY, GROUPED])]
        measures = list(dict.fromkeys(correlations["measure"]))
        for place, (method, look) in enumerate(looks.items()):
            rows = table[(table["method"] == method) & (table["measure"] == GROUPED)]
            options: dict[str, Any] = {"color": look.color, "marker": look.marker, "capsize": 2}
            left.errorbar(rows["people"], rows["value"], yerr=_reach(rows), linestyle=look.line, **options)
            rows = correlations[correlations["method"] == method].set_index("measure").loc[measures]
            at = np.arange(len(measures)) + (place - (len(looks) - 1) / 2) * 0.15
            right.errorbar(rows["value"], at, xerr=_reach(rows), linestyle="", **options)
        left.set(xlabel="Entropy of people's answers (nats)", ylabel="Network's predictive\nentropy (nats)")
        left.set_ylim(0, None)
        right.set_yticks(range(len(measures)), [measure.replace(" (", "\n(") for measure in measures])
        right.set_ylim(len(measures) - 0.5, -0.5)
        right.axvline(0, color="grey", linewidth=0.5)
        right.set_xlabel("Spearman's correlation with people's entropy")
        _draw_legend(figure, looks, table)
        explain(
            figure,
            correlations,
            "Left: mean predictive entropy of the network, with its standard error, in groups of inputs of similar "
            "entropy of people's answers; right: rank correlations of uncertainties with it and their 95 % bootstrap "
            "intervals.",
        )
    return figure


def _reach(rows: DataFrame) -> Any:
    """Lengths of error bars below and above the values, [2, rows]."""
    return np.abs(rows[["low", "high"]].to_numpy().T - rows["value"].to_numpy())


def _draw_legend(figure: Figure, looks: dict[str, MethodStyle], table: DataFrame) -> None:
    from matplotlib.lines import Line2D

    losses = table[table["measure"] == CROSS_ENTROPY].set_index("method")["value"]
    shown = {method: f"{method}: {losses[method]:.3f}" if np.isfinite(losses[method]) else method for method in looks}
    handles = [Line2D([], [], label=shown[method], **look.curve) for method, look in looks.items()]
    any_loss = list(shown.values()) != list(shown)
    title = f"Cross-entropy to people in nats, {losses['people']:.3f} at least" if any_loss else None
    figure.legend(handles=handles, title=title, title_fontsize=7, loc="outside upper center", ncols=len(handles))
