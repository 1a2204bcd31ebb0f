"""What a trained run costs."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from tsnn_uq.cost import Cost, LayerCount, cost, count_layers, neuron_state_bytes
from tsnn_uq.data import EVENT_SETS
from tsnn_uq.experiments.run import count_steps
from tsnn_uq.experiments.settings import Settings
from tsnn_uq.experiments.storage import load_sized_network, seed_network

__all__ = ["cost_of_run"]


def cost_of_run(
    folder: Path, *, samples: int = 1, accounting: str = "layer"
) -> tuple[tuple[LayerCount, ...], Cost, int]:
    """Count and price the network of a run.

    Args:
        folder: the run's folder.
        samples: Monte Carlo samples S of one prediction.
        accounting: ``"layer"`` or ``"paper"``; see `tsnn_uq.cost.cost`.

    Returns:
        The counts of its layers, what they cost for the run's time steps, and the bytes of the neurons' potentials.

    Raises:
        InputError: no trained run there, or an argument out of range.
    """
    (network, size), settings = load_sized_network(folder), Settings.load(folder / "config.toml")
    example = _example(settings, size["shape"])
    seed_network(network, settings.seed, "cost")
    layers = count_layers(network, example)
    total = cost(layers, steps=count_steps(network, example), samples=samples, accounting=accounting)
    return layers, total, neuron_state_bytes(network, example)


def _example(settings: Settings, shape: list[int]) -> Tensor:
    """An input without an event, or a black image."""
    values = torch.Size(shape).numel()
    if settings.data.name in EVENT_SETS:
        return torch.zeros(1, settings.data.steps, -(-values // 8), dtype=torch.uint8)
    return torch.zeros(1, *shape)
