"""What a trained run costs, layer by layer."""

from __future__ import annotations

from pathlib import Path

import torch
from rich.table import Table
from torch import Tensor

from tsnn_uq.checks import InputError
from tsnn_uq.cost import Cost, LayerCount, cost, count_layers
from tsnn_uq.data import EVENT_SETS
from tsnn_uq.experiments.run import count_steps
from tsnn_uq.experiments.settings import Settings
from tsnn_uq.experiments.storage import load_sized_network
from tsnn_uq.seeds import generator_for
from tsnn_uq.uncertainty import set_generator

__all__ = ["cost_of_run", "render_cost"]


def cost_of_run(folder: Path, *, samples: int = 1, accounting: str = "layer") -> tuple[tuple[LayerCount, ...], Cost]:
    """Count and price the network of a run.

    Args:
        folder: the run's folder.
        samples: Monte Carlo samples S of one prediction.
        accounting: ``"layer"`` or ``"paper"``; see `tsnn_uq.cost.cost`.

    Returns:
        The counts of its layers, and what they cost for the run's time steps.

    Raises:
        InputError: no trained run there, or an argument out of range.
    """
    (network, size), settings = load_sized_network(folder), Settings.load(folder / "config.toml")
    example = _example(settings, size["shape"])
    set_generator(network, generator_for(settings.seed, "cost"))  # a random input coding needs one
    layers = count_layers(network, example)
    return layers, cost(layers, steps=count_steps(network, example), samples=samples, accounting=accounting)


def _example(settings: Settings, shape: list[int]) -> Tensor:
    """An input without an event, or a black image."""
    values = torch.Size(shape).numel()
    if settings.data.name in EVENT_SETS:
        return torch.zeros(1, settings.data.steps, -(-values // 8), dtype=torch.uint8)
    return torch.zeros(1, *shape)


def render_cost(layers: tuple[LayerCount, ...], total: Cost) -> Table:
    """The counts and costs for a terminal, a row a layer and one for all.

    Raises:
        InputError: they are not of the same layers.
    """
    if [layer.name for layer in layers] != [layer.name for layer in total.layers]:
        raise InputError("total: expected the cost of the same layers; got that of others")
    table = Table(
        "layer", "kind", *("weights", "zero %", "MACs a step", "skipped %", "storage B", "FLOPs", "energy pJ")
    )
    for column in table.columns[2:]:
        column.justify = "right"
    for layer, price in zip(layers, total.layers, strict=True):
        kind = f"{layer.kind}, ternary" if layer.ternary else layer.kind
        table.add_row(
            layer.name,
            kind,
            f"{layer.weights:,}",
            f"{100 * layer.sparsity:.2f}",
            f"{layer.macs:,}",
            f"{100 * price.skipped:.2f}",
            f"{price.storage_bytes:,}",
            f"{price.flops:,.0f}",
            f"{price.energy_pj:.4g}",
        )
    table.add_section()
    table.add_row(
        "all",
        "",
        f"{sum(layer.weights for layer in layers):,}",
        f"{100 * total.sparsity:.2f}",
        f"{sum(layer.macs for layer in layers):,}",
        "",
        f"{total.storage_bytes:,}",
        f"{total.flops:,.0f}",
        f"{total.energy_pj:.4g}",
    )
    return table
