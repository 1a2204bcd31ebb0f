"""Layers that see all time steps at once, and do constant input only once."""

from __future__ import annotations

from torch import Tensor, nn

from tsnn_uq.checks import InputError, describe
from tsnn_uq.coding import is_constant_over_time

__all__ = ["Linear"]


class Linear(nn.Linear):
    """Linear layer over time, [T, N, in] to [T, N, out]: one matrix product for all steps.

    Input that is held over time (stride 0 on the first axis) is multiplied once, and so is the output held.
    """

    def forward(self, inputs: Tensor) -> Tensor:
        """Weighted sums of `inputs` [T, N, in]."""
        if inputs.dim() != 3 or inputs.shape[-1] != self.in_features:
            raise InputError(f"inputs: expected shape [T, N, {self.in_features}]; got {describe(inputs)}")
        if is_constant_over_time(inputs):
            return super().forward(inputs[0]).expand(len(inputs), -1, -1)
        return super().forward(inputs)
