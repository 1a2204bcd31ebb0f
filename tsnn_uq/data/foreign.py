"""Test sets that are made and not recorded, for what a network of MNIST's digits should be unsure of."""

from __future__ import annotations

from collections.abc import Callable

import torch

from tsnn_uq.checks import check_positive
from tsnn_uq.data.images import Dataset
from tsnn_uq.data.letters import letters
from tsnn_uq.seeds import generator_for

__all__ = ["FOREIGN", "noise"]


def noise(count: int = 5000, *, seed: int = 0) -> Dataset:
    """Images of 28 x 28 pixels, each uniform in [0, 1] and independent of all others; they have one class.

    Raises:
        InputError: `count` is no positive whole number.

    Example:
        >>> noise(2).shape
        (1, 28, 28)
    """
    check_positive("count", count, integer=True)
    images = torch.rand(count, 1, 28, 28, generator=generator_for(seed, "noise"))
    return Dataset(images, torch.zeros(count, dtype=torch.int64), "noise", classes=1)


FOREIGN: dict[str, Callable[[], Dataset]] = {"letters": letters, "noise": noise}
"""Name -> its test set; there is nothing to train on."""
