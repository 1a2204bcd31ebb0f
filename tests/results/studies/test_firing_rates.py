from __future__ import annotations

import pytest

from tests.helpers.figures import faults
from tests.helpers.studies import tiny_runs
from tsnn_uq.experiments.storage import read_row
from tsnn_uq.results.figures import firing_rate_figure
from tsnn_uq.results.studies import firing_rates, layer_sparsity


def test_rates_are_those_of_the_layers_and_accuracies_those_of_the_runs(tmp_path):
    runs = tiny_runs(tmp_path)
    table = firing_rates([runs], inputs=40).set_index("method")
    layers = layer_sparsity(runs, inputs=40)
    for method, folder in runs.folders.items():
        spikes = layers[(layers["method"] == method) & (layers["quantity"] == "spikes")]
        sizes = [int(name.rpartition(" ")[2]) for name in spikes["layer"]]  # neurons of each layer
        mean = sum(size * value for size, value in zip(sizes, spikes["value"], strict=True)) / sum(sizes)
        assert table.loc[method, "rate"] == pytest.approx(mean)
        assert table.loc[method, "accuracy"] == read_row(folder)["accuracy"]
        assert table.loc[method, "weight"] == 0
        assert 0 < table.loc[method, "operations_pj"] < table.loc[method, "fetch-all_pj"]
    figure = firing_rate_figure(table.reset_index())
    assert faults(figure) == []
    assert {line.get_label() for line in figure.axes[0].lines} == set(table.index)
    for line in figure.axes[0].lines:
        assert list(line.get_xdata()) == pytest.approx([100 * table.loc[line.get_label(), "rate"]])
