"""Distributions of weights that Pyro lacks, with their divergences registered."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from pyro.distributions import Normal
from pyro.distributions.torch_distribution import TorchDistribution
from torch import Tensor
from torch.distributions import constraints
from torch.distributions.kl import register_kl

__all__ = ["DroppedPoints", "TernaryCodes"]


class TernaryCodes(TorchDistribution):
    """Codes -1, 0 and 1.

    Three tensors instead of an axis of length 3 take a third of the time of a categorical distribution.

    Args:
        minus: logarithm of the probability of -1, any shape; probabilities sum to one.
        zero: that of 0, same shape.
        plus: that of 1, same shape.
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}
    support = constraints.integer_interval(-1, 1)

    def __init__(self, minus: Tensor, zero: Tensor, plus: Tensor) -> None:
        self.logs = (minus, zero, plus)
        super().__init__(zero.shape, validate_args=False)

    @property
    def mean(self) -> Tensor:
        """P(1) - P(-1)."""
        return self.logs[2].exp() - self.logs[0].exp()

    @property
    def variance(self) -> Tensor:
        """P(1) + P(-1) - mean^2."""
        return self.logs[2].exp() + self.logs[0].exp() - self.mean.square()

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Draw from torch's global generator, as in Pyro."""
        with torch.no_grad():
            level = torch.rand(self._extended_shape(torch.Size(sample_shape)), dtype=self.logs[0].dtype)
            level = level.to(self.logs[0].device)
            minus, zero = self.logs[0].exp(), self.logs[1].exp()
            return (level >= minus + zero).to(level.dtype) - (level < minus).to(level.dtype)

    def log_prob(self, value: Tensor) -> Tensor:
        """Logarithm of the probability of codes `value`."""
        minus, zero, plus = self.logs
        return torch.where(value < 0, minus, torch.where(value > 0, plus, zero))


def _kl_codes(q: TernaryCodes, p: TernaryCodes) -> Tensor:
    minus, zero, plus = (mine.exp() * (mine - other) for mine, other in zip(q.logs, p.logs, strict=True))
    return minus + zero + plus


class DroppedPoints(TorchDistribution):
    """A weight that is zero with probability p, and mean / (1 - p) otherwise.

    Args:
        mean: any shape.
        p: probability of a zero.
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}
    support = constraints.real

    def __init__(self, mean: Tensor, p: float) -> None:
        self.mean_kept, self.p = mean / (1 - p), p
        super().__init__(mean.shape, validate_args=False)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Draw from torch's global generator, as in Pyro."""
        with torch.no_grad():
            shape = self._extended_shape(torch.Size(sample_shape))
            return self.mean_kept * (torch.rand(shape, device=self.mean_kept.device) >= self.p)


def _kl_dropped(q: DroppedPoints, p: Normal) -> Tensor:
    """(1 - p) m^2 / (2 sigma^2), up to a constant: Gal and Ghahramani (2016), appendix, proposition 1."""
    return (1 - q.p) * (q.mean_kept - p.loc).square() / (2 * p.scale.square())


register_kl(TernaryCodes, TernaryCodes)(_kl_codes)
register_kl(DroppedPoints, Normal)(_kl_dropped)
