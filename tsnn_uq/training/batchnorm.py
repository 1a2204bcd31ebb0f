"""BatchNorm's running statistics, taken anew for weights that have changed since."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from tsnn_uq.state import rest

__all__ = ["batch_norms", "refresh_batch_norms"]


def batch_norms(network: nn.Module) -> list[Any]:
    """The BatchNorm layers of a network that keep running statistics."""
    found = [module for module in network.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    return [module for module in found if module.track_running_stats]


@torch.no_grad()
def refresh_batch_norms(network: nn.Module, batches: Iterable[Tensor]) -> None:
    """Set the running statistics of BatchNorm to their plain means over batches, as the weights now are.

    All other modules stay in the mode in which they are, so that dropout may be on or off.

    Args:
        network: any module; it is put to rest before each batch.
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
