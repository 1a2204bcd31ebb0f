"""Surrogate gradients: smooth replacements for the derivative of the spike's step function.

A surrogate is a pair: a `primitive` that rises from 0 to 1 as the Heaviside step does, and its exact
`derivative`, used in place of the step's own, which is zero almost everywhere (Neftci, Mostafa and
Zenke, 2019). x is the membrane potential minus the threshold.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tsnn_uq.checks import check_choice, check_positive

__all__ = ["SURROGATES", "Surrogate", "spike", "surrogate"]


@dataclass(frozen=True)
class Surrogate:
    """A surrogate gradient with its sharpness `alpha` (per unit of membrane potential)."""

    name: str
    alpha: float

    def primitive(self, x: Tensor) -> Tensor:
        """The smooth step whose slope is `derivative`; any shape."""
        return SURROGATES[self.name].primitive(x, self.alpha)

    def derivative(self, x: Tensor) -> Tensor:
        """The surrogate derivative; any shape."""
        return self.derivative_(x.clone())

    def derivative_(self, x: Tensor) -> Tensor:
        """`derivative`, computed in place in `x`: allocating a tensor costs more than the arithmetic."""
        return SURROGATES[self.name].derivative(x, self.alpha)


@dataclass(frozen=True)
class _Entry:
    primitive: Callable[[Tensor, float], Tensor]
    derivative: Callable[[Tensor, float], Tensor]
    alpha: float


def _arctan(x: Tensor, alpha: float) -> Tensor:
    """arctan(pi/2 alpha x) / pi + 1/2 (Fang et al., 2021)."""
    return torch.atan(math.pi / 2 * alpha * x) / math.pi + 0.5


def _arctan_slope(x: Tensor, alpha: float) -> Tensor:
    return x.mul_(math.pi / 2 * alpha).square_().add_(1).reciprocal_().mul_(alpha / 2)


def _sigmoid(x: Tensor, alpha: float) -> Tensor:
    """1 / (1 + exp(-alpha x))."""
    return torch.sigmoid(alpha * x)


def _sigmoid_slope(x: Tensor, alpha: float) -> Tensor:
    rate = x.mul_(alpha).sigmoid_()
    return (1 - rate).mul_(rate).mul_(alpha)


def _triangle(x: Tensor, alpha: float) -> Tensor:
    """alpha x - alpha^2 x |x| / 2 + 1/2 inside |x| < 1/alpha; 0 below, 1 above (Bellec et al., 2018)."""
    inside = x.clamp(-1 / alpha, 1 / alpha)
    return alpha * inside - alpha**2 / 2 * inside * inside.abs() + 0.5


def _triangle_slope(x: Tensor, alpha: float) -> Tensor:
    return x.abs_().mul_(-(alpha**2)).add_(alpha).clamp_(min=0)


SURROGATES = {
    "arctan": _Entry(_arctan, _arctan_slope, 2.0),
    "sigmoid": _Entry(_sigmoid, _sigmoid_slope, 4.0),
    "triangle": _Entry(_triangle, _triangle_slope, 1.0),
}


def surrogate(name: str = "arctan", alpha: float | None = None) -> Surrogate:
    """Look up a surrogate gradient.

    Args:
        name: ``"arctan"``, ``"sigmoid"`` or ``"triangle"``.
        alpha: sharpness; ``None`` uses the default (2, 4 and 1).

    Raises:
        InputError: unknown name, or `alpha` not above zero.

    Example:
        >>> surrogate("arctan").derivative(torch.zeros(1))
        tensor([1.])
    """
    entry = SURROGATES[check_choice("surrogate", name, SURROGATES)]
    chosen = entry.alpha if alpha is None else alpha
    check_positive("alpha", chosen)
    return Surrogate(name, chosen)


class _Spike(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, kind: Surrogate) -> Tensor:
        ctx.save_for_backward(x)
        ctx.kind = kind
        return (x >= 0).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        return grads[0] * ctx.kind.derivative(x), None


def spike(x: Tensor, kind: Surrogate) -> Tensor:
    """1 where x >= 0, else 0; backward, `kind.derivative(x)` replaces the derivative of the step."""
    return _Spike.apply(x, kind)
