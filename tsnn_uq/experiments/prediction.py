"""Monte Carlo predictions of a data set."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from tsnn_uq import data
from tsnn_uq.batches import device_of
from tsnn_uq.engine import Engine
from tsnn_uq.experiments.context import Progress, silent
from tsnn_uq.seeds import generator_for
from tsnn_uq.uncertainty import mc_predict

__all__ = ["predict", "where"]


def where(network: nn.Module | Engine) -> torch.device:
    """The device that a network runs on."""
    return network.device if isinstance(network, Engine) else device_of(network)


def predict(
    network: nn.Module | Engine, dataset: data.Dataset, *, samples: int, seed: int, progress: Progress = silent
) -> Tensor:
    """Monte Carlo probabilities [S, N, C] of a data set; the same seed gives the same draws, in the engine too.

    The network runs where it is, on a block of inputs at a time; the probabilities are on the processor.
    """
    total = len(dataset)
    options: dict[str, Any] = {
        "samples": samples,
        "generator": generator_for(seed, "predict", dataset.name),
        "progress": lambda done: progress("predict", done, total),
    }
    if isinstance(network, Engine):
        return network.mc_predict(dataset.images.to(network.device), **options).cpu()
    return mc_predict(network, dataset, **options).predictions.cpu()
