"""The mean of several outputs for each class as a linear layer, since NIR has no one-dimensional pooling."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["vote_weight"]


def vote_weight(pool: nn.AvgPool1d, features: int) -> Tensor:
    """The weight [classes, features] of a linear layer that is equivalent to `pool` on [N, features].

    Example:
        >>> vote_weight(nn.AvgPool1d(2), 4).tolist()
        [[0.5, 0.5, 0.0, 0.0], [0.0, 0.0, 0.5, 0.5]]
    """
    return pool(torch.eye(features)).T.contiguous()
