"""Build linear layers, convolutions, pooling and Flatten from NIR nodes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import skip_init

from tsnn_uq.checks import InputError
from tsnn_uq.exchange.class_means import vote_weight
from tsnn_uq.networks import Conv2d, Linear, OverTime

__all__ = ["LAYERS"]


def _tensor(value: Any) -> Tensor:
    return torch.as_tensor(np.asarray(value))  # not copied here, but by `_filled`


def _filled(layer: Any, weight: Tensor, bias: Tensor | None) -> Any:
    with torch.no_grad():
        layer.weight.copy_(weight)
        if bias is not None:
            layer.bias.copy_(bias)
    return layer


def _bias(node: Any) -> Tensor | None:
    """The bias, or None if it is zero: NIR's convolutions always have one."""
    bias = _tensor(getattr(node, "bias", 0.0))
    return bias if bias.any() else None


def _linear(node: Any, dt: float) -> nn.Module:
    weight, bias = _tensor(node.weight), _bias(node)
    votes = node.metadata.get("votes")
    if votes is not None and torch.equal(weight, vote_weight(nn.AvgPool1d(int(votes)), weight.shape[-1])):
        return OverTime(nn.AvgPool1d(int(votes)))
    if weight.dim() != 2:
        raise InputError(f"weight: expected two axes, outputs and inputs; got shape {list(weight.shape)}")
    return _filled(skip_init(Linear, weight.shape[1], weight.shape[0], bias=bias is not None), weight, bias)


def _sizes(value: Any, axes: int) -> tuple[int, ...]:
    """Expand one size, or one size per axis, to a size for each axis."""
    sizes = [int(size) for size in np.atleast_1d(np.asarray(value))]
    return tuple(sizes * axes if len(sizes) == 1 else sizes)


def _convolution(kind: type[nn.Conv1d] | type[nn.Conv2d], axes: int) -> Callable[[Any, float], nn.Module]:
    def build(node: Any, dt: float) -> nn.Module:
        weight, bias, groups = _tensor(node.weight), _bias(node), int(node.groups)
        padding = node.padding if isinstance(node.padding, str) else _sizes(node.padding, axes)
        options = {"stride": _sizes(node.stride, axes), "padding": padding, "dilation": _sizes(node.dilation, axes)}
        channels = weight.shape[1] * groups, weight.shape[0]
        layer = skip_init(kind, *channels, tuple(weight.shape[2:]), groups=groups, bias=bias is not None, **options)
        return _filled(layer, weight, bias)

    return build


def _conv1d(node: Any, dt: float) -> nn.Module:
    return OverTime(_convolution(nn.Conv1d, 1)(node, dt))


def _flatten(node: Any, dt: float) -> nn.Module:
    start, end = int(node.start_dim), int(node.end_dim)  # without time and batch
    shape = node.input_type["input"]
    if shape is not None:  # count from the front, but the last axis from the end, as our networks do
        start, end = (dim % len(shape) for dim in (start, end))
        end = -1 if end == len(shape) - 1 else end
    return nn.Flatten(start + 2 if start >= 0 else start, end + 2 if end >= 0 else end)


def _pooling(divisor: int | None) -> Callable[[Any, float], nn.Module]:
    def build(node: Any, dt: float) -> nn.Module:
        kernel: Any = _sizes(node.kernel_size, 2)
        stride: Any = _sizes(node.stride, 2)
        padding: Any = _sizes(node.padding, 2)
        return OverTime(nn.AvgPool2d(kernel, stride, padding, divisor_override=divisor))

    return build


LAYERS: dict[str, Callable[[Any, float], nn.Module]] = {
    "Linear": _linear,
    "Affine": _linear,
    "Conv1d": _conv1d,
    "Conv2d": _convolution(Conv2d, 2),
    "Flatten": _flatten,
    "SumPool2d": _pooling(1),
    "AvgPool2d": _pooling(None),
}
"""Functions that build a layer from a node and the time step, by the type of the node."""
