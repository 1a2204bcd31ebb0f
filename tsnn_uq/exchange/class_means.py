"""The mean of several neurons for each class, which NIR has no pooling for, as a linear layer."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["vote_weight"]


def vote_weight(pool: nn.AvgPool1d, features: int) -> Tensor:
    """The weight [votes, features] of the linear layer that does what `pool` does to [N, features].

    Example:
        >>> vote_weight(nn.AvgPool1d(2), 4).tolist()
        [[0.5, 0.5, 0.0, 0.0], [0.0, 0.0, 0.5, 0.5]]
    """
    return pool(torch.eye(features)).T.contiguous()
