"""Recompute BatchNorm's running statistics for weights that have changed."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn

from tsnn_uq.seeds import derive_seed, generator_for, global_seed
from tsnn_uq.state import rest
from tsnn_uq.training.epochs import Epochs
from tsnn_uq.uncertainty import set_generator

__all__ = ["batch_norms", "refresh_batch_norms", "refresh_from_epochs"]


def batch_norms(network: nn.Module) -> list[Any]:
    """The BatchNorm layers of a network that keep running statistics."""
    found = [module for module in network.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    return [module for module in found if module.track_running_stats]


@torch.no_grad()
def refresh_batch_norms(network: nn.Module, batches: Iterable[Tensor]) -> None:
    """Set the running statistics of BatchNorm to their means over batches, with the current weights.

    All other modules keep their mode, so dropout may be on or off.

    Args:
        network: any module; its state is reset before each batch.
        batches: inputs.
    """
    norms = batch_norms(network)
    before = [(norm.momentum, norm.training) for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain mean
        norm.train()
    for batch in batches:
        rest(network)
        network(batch)
    for norm, (momentum, training) in zip(norms, before, strict=True):
        norm.momentum = momentum
        norm.train(training)


def refresh_from_epochs(network: nn.Module, data: Epochs, *, inputs: int, epochs: int, seed: int) -> None:
    """`refresh_batch_norms` from about `inputs` training inputs; dropout is on, and the network stays in training mode.

    Args:
        network: any module.
        data: the batches of the training.
        inputs: approximate number of inputs, rounded up to whole batches.
        epochs: largest number of passes over the data.
        seed: seed of the order of the data and of random layers.
    """
    set_generator(network, generator_for(seed, "batchnorm", device=data.device))
    network.train()
    count = -(-inputs // max(1, data.count // data.steps))
    with global_seed(derive_seed(seed, "batchnorm of others"), data.device):
        refresh_batch_norms(network, (batch.inputs for batch in islice(data.batches(0, epochs), count)))
