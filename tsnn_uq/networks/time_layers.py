"""Layers over all time steps [T, N, ...]; input that is constant over time is computed once."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from tsnn_uq.checks import InputError, describe
from tsnn_uq.constant_input import is_constant, repeat_over_time, single_step
from tsnn_uq.fast.synapses import linear, linear_of_bits

__all__ = ["Conv2d", "Linear", "OverTime", "flat_layers"]


class Linear(nn.Linear):
    """Linear layer over time, [T, N, in] to [T, N, out]: one matrix product for all steps.

    If the input is constant over time (stride 0 on the first axis), it is multiplied once, and the output is constant
    too. Spikes may be packed, eight to a byte; see `tsnn_uq.coding.pack_spikes`.
    """

    def forward(self, inputs: Tensor) -> Tensor:
        """Weighted sums of `inputs` [T, N, in], or of packed ones, uint8 [T, N, ceil(in / 8)]."""
        if inputs.dtype == torch.uint8:
            return linear_of_bits(inputs, self.weight, self.bias)
        if inputs.dim() != 3 or inputs.shape[-1] != self.in_features:
            raise InputError(f"inputs: expected shape [T, N, {self.in_features}]; got {describe(inputs)}")
        if is_constant(inputs):
            return repeat_over_time(super().forward(single_step(inputs)), len(inputs))
        return linear(inputs, self.weight, self.bias)


class Conv2d(nn.Conv2d):
    """Convolution over time, [T, N, C, H, W] to [T, N, C', H', W']: all steps in one call."""

    def forward(self, inputs: Tensor) -> Tensor:
        """Convolve `inputs` [T, N, C, H, W]."""
        if inputs.dim() != 5 or inputs.shape[2] != self.in_channels:
            raise InputError(f"inputs: expected shape [T, N, {self.in_channels}, H, W]; got {describe(inputs)}")
        return _over_time(super().forward, inputs)


class OverTime(nn.Module):
    """Applies a layer without a time axis, such as BatchNorm or pooling, to all steps [T, N, ...] in one call.

    BatchNorm uses the statistics of all steps together.

    Args:
        module: a layer for inputs [N, ...].
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, inputs: Tensor) -> Tensor:
        """Apply the layer to `inputs` [T, N, ...]."""
        if inputs.dim() < 3:
            raise InputError(f"inputs: expected shape [T, N, ...]; got {describe(inputs)}")
        return _over_time(self.module, inputs)


def _over_time(layer: Callable[[Tensor], Tensor], inputs: Tensor) -> Tensor:
    """Apply a layer with the time axis folded into the batch."""
    if is_constant(inputs):
        return repeat_over_time(layer(single_step(inputs)), len(inputs))
    return layer(inputs.flatten(0, 1)).unflatten(0, inputs.shape[:2])


def flat_layers(network: nn.Module, prefix: str = "", wrapped: bool = False) -> Iterator[tuple[str, nn.Module, bool]]:
    """The layers of nested Sequentials in order, with their names and whether they are inside an `OverTime`.

    Example:
        >>> [name for name, _, _ in flat_layers(nn.Sequential(nn.Identity(), OverTime(nn.AvgPool2d(2))))]
        ['0', '1.module']
    """
    if isinstance(network, nn.Sequential):
        for name, child in zip(network._modules, network, strict=True):  # named_children skips repeated modules
            yield from flat_layers(child, f"{prefix}.{name}" if prefix else name, wrapped)
    elif isinstance(network, OverTime):
        yield from flat_layers(network.module, f"{prefix}.module", True)
    else:
        yield prefix, network, wrapped
