"""The input current of a scan, reduced to one step if it is constant over time."""

from __future__ import annotations

from torch import Tensor

from tsnn_uq.checks import InputError, describe
from tsnn_uq.constant_input import is_constant, single_step

__all__ = ["without_repeats"]


def without_repeats(current: Tensor) -> Tensor:
    """The current [T, N, ...], or one step of it [1, N, ...] if it is constant over time.

    Raises:
        InputError: `current` is not a floating-point tensor [T, N, ...].
    """
    if current.dim() < 2 or len(current) == 0 or not current.is_floating_point():
        raise InputError(f"current: expected floats of shape [T, N, ...] with T >= 1; got {describe(current)}")
    return single_step(current).unsqueeze(0) if is_constant(current) else current
