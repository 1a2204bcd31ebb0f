"""Small networks with random layers whose sums are exact, so that nothing hangs on the order of summing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from tsnn_uq.networks import build

STEPS = 6
TRIED = [2, 3]
"""Inputs of the two passes in which every network is tried in evaluation mode, before any sample is drawn."""


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def exact(network: nn.Module) -> nn.Module:
    """Weights that, with inputs of eighths and p = 0.5, keep all sums short: no rounding, so no order of summing."""
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randint(-4, 5, parameter.shape, generator=seeded(1)) / 4)
    return network


def images(count: int = 7) -> Tensor:
    return torch.randint(0, 9, (count, 1, 3, 4), generator=seeded(2)) / 8


def spiking(family: str = "dropout", **options: Any) -> nn.Module:
    options = {"sizes": (12, 16, 16, 5), "steps": STEPS, "p": 0.5} | options
    return exact(build(family, generator=seeded(0), **options))


def plain_network(p: float = 0.5) -> nn.Module:
    """A network of plain torch, [N, 4] in, logits [N, 3] out."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(4, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Dropout(p), nn.Linear(64, 3))


def count_inputs(layer: nn.Module, axis: int) -> list[int]:
    """A list to which each pass adds the length of this axis of the layer's input."""
    sizes: list[int] = []
    layer.register_forward_hook(lambda _, inputs, __: sizes.append(inputs[0].shape[axis]))
    return sizes


def assert_same_moments(ours: Tensor, theirs: Tensor) -> None:
    """Mean and second moment of two sets of independent samples [S, N, C] differ by no more than chance."""
    for power in (1, 2):
        one, other = ours.double() ** power, theirs.double() ** power
        error = (one.var(0) / len(one) + other.var(0) / len(other)).sqrt()
        assert ((one.mean(0) - other.mean(0)).abs() <= 6 * error + 1e-5).all()


@torch.no_grad()
def loop_of_passes(
    network: nn.Module, inputs: Tensor, random: Sequence[nn.Module] = (), samples: int = 300, seed: int = 7
) -> Tensor:
    """Probabilities [S, N, C] of passes one after the other, each with a fresh copy of the inputs.

    Args:
        network: gives logits [N, C].
        inputs: what it takes.
        random: its modules that are in training mode.
        samples: S.
        seed: of torch's global generator.
    """
    network.eval()
    for module in random:
        module.training = True
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return torch.stack([network(inputs.clone()).softmax(-1) for _ in range(samples)])
    finally:
        torch.backends.mha.set_fastpath_enabled(True)
        network.eval()
