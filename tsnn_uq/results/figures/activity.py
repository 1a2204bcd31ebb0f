"""Activity of trained networks: sparsity of weights and spikes, membrane potentials, and spikes over time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tsnn_uq.checks import InputError
from tsnn_uq.results.figures.captions import explain, reference_of
from tsnn_uq.results.figures.style import MethodStyle, method_styles, new_figure, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from pandas import DataFrame

__all__ = ["layer_sparsity_chart", "potential_histogram", "spike_raster"]

_STEPS_APART = 20  # with up to this many time steps there is room for gaps between cells
_THRESHOLD: dict[str, Any] = {"color": "0.3", "linestyle": (0, (4, 3)), "linewidth": 0.8}
_WITHOUT = "Networks run once, without random masks."
_LABELS = {"zero weights": "Zero weights (%)", "spikes": "Spikes per neuron and step (%)"}


def layer_sparsity_chart(table: DataFrame) -> Figure:
    """Bars of each method by layer: the share of zero weights, and the firing rate of neurons.

    Args:
        table: as returned by `tsnn_uq.results.studies.layer_sparsity`.

    Returns:
        The figure, as wide as a page.

    Raises:
        InputError: the table has no rows.
    """
    looks = _looks(table)
    width = 0.8 / len(looks)
    with style():
        figure = new_figure(2.6, 2)
        for axes, (quantity, label) in zip(figure.subplots(1, 2), _LABELS.items(), strict=True):
            rows = table[table["quantity"] == quantity]
            layers = list(dict.fromkeys(rows["layer"]))
            for number, (method, look) in enumerate(looks.items()):
                values = rows[rows["method"] == method].set_index("layer")["value"].reindex(layers)
                places = np.arange(len(layers)) + (number - (len(looks) - 1) / 2) * width
                colors = {"facecolor": look.color if not look.hatch else "white", "edgecolor": look.color}
                axes.bar(places, 100 * values, width, hatch=look.hatch, linewidth=0.8, label=method, **colors)
            axes.set_xticks(range(len(layers)), [layer.replace(": ", "\n") for layer in layers])
            axes.set_ylabel(label)
            axes.set_ylim(0, None)
        figure.legend(*axes.get_legend_handles_labels(), loc="outside upper center", ncols=len(looks))
        explain(
            figure,
            table,
            "Left: weights that are exactly zero, by layer (inputs and outputs); right: how often the neurons of a "
            f"layer (their number) fire. {_WITHOUT}",
        )
    return figure


def potential_histogram(table: DataFrame) -> Figure:
    """Membrane potentials before the reset in units of the threshold, with a column per layer and a row per method.

    Each row also has the potentials of the reference in grey (the table's ``reference``, else float, else the first
    method). Neurons fire to the right of the dashed threshold; the share that fires is given above each panel, for the
    reference first. With ternary weights potentials come in steps, since sums are multiples of one scale.

    Args:
        table: as returned by `tsnn_uq.results.studies.potential_distribution`.

    Returns:
        The figure, as wide as a page.

    Raises:
        InputError: the table has no rows.
    """
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    looks, layers = _looks(table), list(dict.fromkeys(table["layer"]))
    reference = reference_of(table) if reference_of(table) in looks else next(iter(looks))
    lines = [method for method in looks if method != reference] or list(looks)
    with style():
        figure = new_figure(0.5 + 1.5 * len(lines), 2)
        panels = figure.subplots(len(lines), len(layers), sharex="col", sharey="col", squeeze=False)
        for (row, method), (column, layer) in ((r, c) for r in enumerate(lines) for c in enumerate(layers)):
            axes, of_layer = panels[row, column], table[table["layer"] == layer]
            rates = [
                f"{100 * _draw_potentials(axes, of_layer[of_layer['method'] == name], looks[name], reference):.1f}"
                for name in dict.fromkeys([reference, method])
            ]
            axes.axvline(1, **_THRESHOLD)
            title = f"{layer} neurons\n" if row == 0 else ""
            axes.set_title(title + " \N{RIGHTWARDS ARROW} ".join(rates) + " % fire", fontsize=7)
            axes.locator_params(axis="x", nbins=5, integer=True)
            if column == 0:
                axes.set_ylabel(f"{method}\nShare per bin (%)")
        for axes in panels[-1]:
            axes.set_xlabel("Potential (thresholds)")
            axes.set_ylim(0, None)  # after all panels of the shared axis are drawn
        handles: list[Any] = [Patch(color="0.8", label=reference)]
        handles += [Line2D([], [], color=looks[name].color, label=name) for name in lines if name != reference]
        handles.append(Line2D([], [], label="threshold, from which on neurons fire", **_THRESHOLD))
        figure.legend(handles=handles, loc="outside upper center", ncols=len(handles))
        explain(
            figure,
            table,
            "Membrane potentials before the reset, of all neurons of a layer, time steps and inputs. Above each panel: "
            f"share of the potentials at or above the threshold, {reference} first. {_WITHOUT}",
        )
    return figure


def _draw_potentials(axes: Axes, rows: DataFrame, look: MethodStyle, reference: str) -> float:
    """Draw the histogram of one method; returns the share that fires."""
    method = rows["method"].iloc[0]
    grey: dict[str, Any] = {"color": "0.8", "fill": True}
    line: dict[str, Any] = {"color": look.color, "linewidth": 0.8, "baseline": None}
    edges = [*rows["bin_low"], rows["bin_high"].iloc[-1]]
    axes.stairs(100 * rows["share"], edges, **(grey if method == reference else line))
    axes.set_xlim(edges[0], edges[-1])
    return float(rows["rate"].iloc[0])


def spike_raster(table: DataFrame) -> Figure:
    """Spikes of some neurons over time for one input, with a column per method and a row per layer.

    Args:
        table: as returned by `tsnn_uq.results.studies.spike_trains`.

    Returns:
        The figure, as wide as a column for one method, else as wide as a page.

    Raises:
        InputError: the table has no rows.
    """
    looks, layers = _looks(table), list(dict.fromkeys(table["layer"]))
    with style():
        figure = new_figure(0.6 + 1.25 * len(layers), len(looks))
        panels = figure.subplots(len(layers), len(looks), sharex=True, sharey="row", squeeze=False)
        for (row, layer), (column, method) in ((r, c) for r in enumerate(layers) for c in enumerate(looks)):
            rows = table[(table["method"] == method) & (table["layer"] == layer)]
            axes = panels[row, column]
            _draw_raster(axes, rows, looks[method].color)
            first = rows.iloc[0]
            rate = f"{100 * first['rate']:.1f} % fire"
            says = f"{method}: predicts {first['predicted']}\n"
            axes.set_title((says if row == 0 else "") + rate, fontsize=7)
            if column == 0:
                shown = rows["neuron"].nunique()
                axes.set_ylabel(f"{layer.partition(':')[0].capitalize()}\n{shown} of {first['layer_neurons']} neurons")
        for axes in panels[-1]:
            axes.set_xlabel("Time step")
        first = table.iloc[0]
        explain(
            figure,
            table,
            f"Test input {first['index']}, of class {first['label']}: a row of each panel is a neuron, a dark cell a "
            "spike. Above each panel: spikes per neuron and time step of the whole layer, of which neurons at equal "
            f"distances are shown. {_WITHOUT}",
        )
    return figure


def _looks(table: DataFrame) -> dict[str, MethodStyle]:
    if not len(table):
        raise InputError("table: expected at least one layer; got none")
    return method_styles(table["method"])


def _draw_raster(axes: Axes, rows: DataFrame, color: str) -> None:
    from matplotlib.colors import ListedColormap

    spikes = rows.pivot_table(index="neuron", columns="step", values="spike")
    neurons, steps = spikes.shape
    edges = np.arange(steps + 1) + 0.5
    colors = ListedColormap(["white", color])
    axes.pcolormesh(
        edges, np.arange(neurons + 1) + 0.5, spikes.to_numpy(), cmap=colors, vmin=0, vmax=1, rasterized=True
    )
    if steps <= _STEPS_APART:
        axes.vlines(edges[1:-1], 0.5, neurons + 0.5, color="white", linewidth=1.5)
        axes.hlines(np.arange(1, neurons) + 0.5, edges[0], edges[-1], color="white", linewidth=0.4)
    axes.locator_params(axis="x", integer=True)
    axes.set_yticks([])
