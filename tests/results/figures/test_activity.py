from __future__ import annotations

from itertools import product

import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import QuadMesh

from tests.helpers.figures import faults
from tsnn_uq.checks import InputError
from tsnn_uq.results.figures import layer_sparsity_chart, potential_histogram, spike_raster

METHODS = ["float", "direct", "indirect", "distill"]


def sparsity(methods: int = 4, layers: int = 4) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    names = [("zero weights", f"conv {n}: 128-128") for n in range(1, layers + 1)]
    names += [("spikes", f"layer {n}: 128x28x28") for n in range(1, layers)]
    rows = [
        {"method": method, "quantity": quantity, "layer": layer, "value": rng.random()}
        for method, (quantity, layer) in product(METHODS[:methods], names)
    ]
    return pd.DataFrame(rows)


def potentials(methods: int = 4, layers: int = 3) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    edges = np.arange(-8, 13) / 4
    tables = []
    for method, layer in product(METHODS[:methods], [f"layer {n}: 128x28x28" for n in range(1, layers + 1)]):
        share = rng.dirichlet(np.ones(20))
        bins = {"bin_low": edges[:-1], "bin_high": edges[1:], "share": share}
        tables.append(pd.DataFrame({"method": method, "layer": layer, "rate": share[12:].sum()} | bins))
    return pd.concat(tables, ignore_index=True)


def trains(methods: int = 4, layers: int = 3, steps: int = 4) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    tables = []
    for method, layer in product(METHODS[:methods], [f"layer {n}: 500" for n in range(1, layers + 1)]):
        place = pd.MultiIndex.from_product([range(0, 60, 4), range(1, steps + 1)], names=["neuron", "step"])
        rows = place.to_frame(index=False).assign(method=method, layer=layer, spike=rng.integers(0, 2, 15 * steps))
        tables.append(rows.assign(layer_neurons=500, rate=rows["spike"].mean(), index=0, label=7, predicted=7))
    return pd.concat(tables, ignore_index=True)


def test_bars_have_the_values_of_the_table() -> None:
    table = sparsity(2, 3)
    for axes, quantity in zip(layer_sparsity_chart(table).axes, ("zero weights", "spikes"), strict=True):
        rows = table[table["quantity"] == quantity]
        np.testing.assert_allclose([bar.get_height() for bar in axes.patches], 100 * rows["value"])
        labels = [label.get_text() for label in axes.get_xticklabels()]
        assert labels == [layer.replace(": ", "\n") for layer in rows["layer"].unique()]


def test_potentials_are_drawn_over_those_of_float() -> None:
    table = potentials(3, 2)
    axes = np.reshape(potential_histogram(table).axes, (2, 2))
    for (row, method), (column, layer) in product(
        enumerate(["direct", "indirect"]), enumerate(table["layer"].unique())
    ):
        panel, rates = axes[row, column], []
        for patch, name in zip(panel.patches, ("float", method), strict=True):
            rows = table[(table["method"] == name) & (table["layer"] == layer)]
            np.testing.assert_allclose(patch.get_data().values, 100 * rows["share"])
            assert patch.get_data().values.max() <= panel.get_ylim()[1]
            rates.append(f"{100 * rows['rate'].iloc[0]:.1f}")
        assert panel.get_title().endswith(" \N{RIGHTWARDS ARROW} ".join(rates) + " % fire")
        assert panel.lines[0].get_xdata()[0] == 1
        assert panel.get_ylim()[0] == 0


def test_potentials_of_float_alone_are_drawn() -> None:
    (axes,) = potential_histogram(potentials(1, 1)).axes
    assert len(axes.patches) == 1


@pytest.mark.parametrize("steps", [4, 30])
def test_cells_are_the_spikes(steps: int) -> None:
    table = trains(2, 2, steps)
    axes = np.reshape(spike_raster(table).axes, (2, 2))
    for (column, method), (row, layer) in product(enumerate(["float", "direct"]), enumerate(table["layer"].unique())):
        (mesh,) = (one for one in axes[row, column].collections if isinstance(one, QuadMesh))
        rows = table[(table["method"] == method) & (table["layer"] == layer)]
        np.testing.assert_array_equal(np.ravel(mesh.get_array()), rows["spike"])
    assert axes[0, 0].get_ylabel() == "Layer 1\n15 of 500 neurons"


@pytest.mark.parametrize(("methods", "layers"), [(1, 1), pytest.param(4, 3, marks=pytest.mark.slow)])
def test_no_text_overlaps_or_leaves_the_page(methods: int, layers: int) -> None:
    assert faults(layer_sparsity_chart(sparsity(methods, max(layers, 2)))) == []
    assert faults(potential_histogram(potentials(methods, layers))) == []
    assert faults(spike_raster(trains(methods, layers))) == []


@pytest.mark.parametrize("plot", [layer_sparsity_chart, potential_histogram, spike_raster])
def test_nothing_to_draw_is_refused(plot) -> None:
    with pytest.raises(InputError, match="table: expected at least one layer"):
        plot(sparsity().iloc[:0])
