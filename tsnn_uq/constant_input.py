"""Input that is constant over time: one step in memory represents all T steps, forward and backward.

Such a tensor has stride 0 on its first axis. torch's own `expand` and slicing compute the same values, but materialize
the gradients of all T steps and sum them again at every layer. Here the gradient stays one step as well.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

__all__ = ["is_constant", "repeat_over_time", "single_step"]


def is_constant(x: Tensor) -> bool:
    """Whether `x` [T, ...] is one repeated step, judged by its memory layout, never by its values."""
    return x.shape[0] == 1 or (x.shape[0] > 1 and x.stride(0) == 0)


def repeat_over_time(x: Tensor, steps: int) -> Tensor:
    """Repeat `x` [...] at every time step: a view [T, ...] of `x`.

    Example:
        >>> x = torch.tensor([2.0], requires_grad=True)
        >>> repeat_over_time(x, 3).sum().backward()
        >>> x.grad
        tensor([3.])
    """
    repeated = _Repeat.apply(x, steps)
    if torch.is_grad_enabled() or not x.requires_grad:
        repeated.one_step = x  # for `single_step` to return, without passes over gradients in between
    return repeated


def single_step(x: Tensor) -> Tensor:
    """The step [...] that `x` [T, ...] repeats, as a view.

    If `x` comes from `repeat_over_time`, that function's argument is returned. For any other tensor the gradient is
    spread evenly over the steps; its sum over time is the same (up to rounding unless T is a power of two).

    Example:
        >>> single_step(repeat_over_time(torch.tensor([2.0]), 3))
        tensor([2.])
    """
    given: Tensor | None = getattr(x, "one_step", None)
    return _OneStep.apply(x) if given is None else given


class _Repeat(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, steps: int) -> Tensor:
        return x.expand(steps, *x.shape)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (grad,) = grads
        return grad[0] * len(grad) if is_constant(grad) else grad.sum(0), None


class _OneStep(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.steps = len(x)
        return x[0]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        return (grads[0] / ctx.steps).expand(ctx.steps, *grads[0].shape)
