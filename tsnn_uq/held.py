"""Values held over time: one step that stands for all T, in memory, in layers and in gradients.

A value that is held has stride 0 on its first axis. torch's own slices and expansions compute the same, but their
gradients are written out for all T steps and added up again at every layer; here a gradient is held as well.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

__all__ = ["hold", "is_held", "one_step"]


def is_held(x: Tensor) -> bool:
    """Whether `x` [T, ...] is one step repeated, judged by its layout alone and never by its values."""
    return x.shape[0] == 1 or (x.shape[0] > 1 and x.stride(0) == 0)


def hold(x: Tensor, steps: int) -> Tensor:
    """The same value [...] at every step: [T, ...], a view of `x`.

    Example:
        >>> x = torch.tensor([2.0], requires_grad=True)
        >>> hold(x, 3).sum().backward()
        >>> x.grad
        tensor([3.])
    """
    held = _Hold.apply(x, steps)
    if torch.is_grad_enabled() or not x.requires_grad:
        held.one_step = x  # for `one_step` to give back, with no passes over gradients between the two
    return held


def one_step(x: Tensor) -> Tensor:
    """The value [...] that is held in `x` [T, ...], a view of it.

    What was given to `hold` is given back. Of another tensor, the gradient is spread evenly over the steps, since
    nothing tells them apart; what is added up again is the same (to rounding where T is no power of two).

    Example:
        >>> one_step(hold(torch.tensor([2.0]), 3))
        tensor([2.])
    """
    given: Tensor | None = getattr(x, "one_step", None)
    return _OneStep.apply(x) if given is None else given


class _Hold(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, steps: int) -> Tensor:
        return x.expand(steps, *x.shape)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (grad,) = grads
        return grad[0] * len(grad) if is_held(grad) else grad.sum(0), None


class _OneStep(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.steps = len(x)
        return x[0]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        return (grads[0] / ctx.steps).expand(ctx.steps, *grads[0].shape)
