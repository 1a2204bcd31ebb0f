from __future__ import annotations

from io import StringIO

import pytest
from rich.console import Console

from tests.helpers.experiments import tiny
from tsnn_uq.checks import InputError
from tsnn_uq.cost import cost
from tsnn_uq.experiments import run
from tsnn_uq.experiments.evaluation import cost_of_run
from tsnn_uq.results.cost_table import render_cost


@pytest.mark.parametrize("settings", [{}, {"family": "plif", "quantized_part": "conv"}, {"coding": "rate"}])
def test_the_layers_add_up_to_the_row_of_the_run(tmp_path, settings):
    config = tiny(method="direct", **settings)
    row = run(config, tmp_path)
    layers, total, state_bytes = cost_of_run(tmp_path / config.name)
    for name in ("sparsity", "storage_bytes", "flops", "energy_pj"):
        assert getattr(total, name) == row[name]
    console = Console(width=160, file=StringIO())
    with console.capture() as captured:
        console.print(render_cost(layers, total, state_bytes))
    text = captured.get()
    assert f"{state_bytes:,} B of potentials" in text
    assert all(layer.name in text for layer in layers)
    assert f"{total.storage_bytes:,}" in text


def test_accounting_and_samples_reach_the_model(tmp_path):
    config = tiny(family="plif", method="direct", quantized_part="fc")
    run(config, tmp_path)
    layers, total, _ = cost_of_run(tmp_path / config.name, samples=5, accounting="paper")
    assert total == cost(layers, steps=config.network.steps, samples=5, accounting="paper")
    with pytest.raises(InputError, match="accounting: expected one of"):
        cost_of_run(tmp_path / config.name, accounting="papers")
    with pytest.raises(InputError, match="total: expected the cost of the same"):
        render_cost(layers[1:], total, 0)
