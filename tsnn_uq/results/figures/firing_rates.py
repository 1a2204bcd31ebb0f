"""Accuracy, calibration and energy against the firing rate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tsnn_uq.results.figures.captions import explain
from tsnn_uq.results.figures.style import method_styles, new_figure, style

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame

__all__ = ["firing_rate_figure"]

_PANELS = {"accuracy": ("Accuracy (%)", 100.0), "scaled_ece": ("Scaled ECE (%)", 100.0)}
_ENERGIES = {"operations_pj": "operations", "fetch-spikes_pj": "weights fetched for spikes"}


def firing_rate_figure(table: DataFrame) -> Figure:
    """Accuracy, calibration and energy against the firing rate of hidden neurons, a point per weight of the penalty.

    Args:
        table: as returned by `tsnn_uq.results.studies.firing_rates`.

    Returns:
        The figure, as wide as a page.

    Raises:
        InputError: the table has no method.
    """
    looks = method_styles(table["method"])
    with style():
        figure = new_figure(2.2, panels=3)
        panels = figure.subplots(1, 3)
        for number, (method, look) in enumerate(looks.items()):
            rows = table[table["method"] == method].sort_values("rate")
            rates = 100 * rows["rate"]
            for axes, (column, (label, factor)) in zip(panels, _PANELS.items(), strict=False):
                axes.plot(rates, factor * rows[column], color=look.color, marker=look.marker, label=method)
                axes.set_ylabel(label)
            place: dict[str, Any] = {"ha": "right", "xytext": (-4, 3)} if number == 0 else {"xytext": (4, -7)}
            for rate, accuracy, weight in zip(rates, 100 * rows["accuracy"], rows["weight"], strict=True):
                panels[0].annotate(f"{weight:g}", (rate, accuracy), textcoords="offset points", fontsize=6, **place)
            for column, line in zip(_ENERGIES, ("-", ":"), strict=True):
                panels[2].plot(rates, 1e-6 * rows[column], line, color=look.color, marker=look.marker)
        panels[2].set_ylabel("Energy of a pass (µJ)")
        panels[2].set_yscale("log")
        for axes in panels:
            axes.set_xlabel("Firing rate (%)")
            axes.set_xlim(left=0)
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=len(looks))
        names = ", ".join(name for name in dict.fromkeys(table["regularizer"]) if name != "none")
        explain(
            figure,
            table,
            "Firing rate: spikes per hidden neuron and time step. Numbers at the points are weights of the regularizer "
            f"{names}; 0 is without it. Scaled: after temperature scaling. Energies of one pass over all time steps: "
            "solid, synaptic operations; dotted, weights fetched for spikes alone.",
        )
    return figure
