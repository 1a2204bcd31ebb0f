"""Count the synaptic operations of a network at each time step of each input."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from tsnn_uq.checks import InputError, check_positive, describe
from tsnn_uq.coding import unpack_spikes
from tsnn_uq.constant_input import is_constant, single_step
from tsnn_uq.cost.layer_positions import positions, shown_name
from tsnn_uq.quantization.channels import TRANSPOSED
from tsnn_uq.quantization.layer_selection import is_conv, is_weight_layer
from tsnn_uq.state import evaluation_mode, rest

__all__ = ["LayerActivity", "count_activity"]


@dataclass(frozen=True)
class LayerActivity:
    """The synaptic operations of one layer: pairs of a weight and an input value that is not zero.

    Attributes:
        name: path of the module in the network.
        spiking: whether its inputs are spikes: zero, or the same number for all.
        operations: int64 [T, N]; spikes times fan-out. If inputs are not spikes, zero inputs count as well.
        nonzero: int64 [T, N], the operations whose weight is not zero.
    """

    name: str
    spiking: bool
    operations: Tensor
    nonzero: Tensor


def count_activity(model: nn.Module, inputs: Tensor, *, batch_size: int | None = None) -> tuple[LayerActivity, ...]:
    """Count the synaptic operations of each layer, at each time step of each input.

    The network runs in evaluation mode, without random masks. Fan-out is exact: a spike at the edge of a map reaches
    fewer weights of a convolution than one in its middle. A layer with constant input, such as the first one under a
    constant current, computes once, in the first step. The calls of a layer that runs several times in each step are
    added up.

    Args:
        model: a module that gives outputs [T, N, C], or [N, C] of one step. It may run its layers once per step, on
            [N, ...], or once for all steps, on [T, N, ...] or [T * N, ...].
        inputs: inputs of `model`.
        batch_size: number of inputs [N, ...] in a call; by default all.

    Returns:
        The counts, in the order of ``model.named_modules()``.

    Raises:
        InputError: the outputs have another shape, there is no layer to count, or a layer ran neither once nor at each
            step.

    Example:
        >>> layer = nn.Linear(3, 5)
        >>> spikes = torch.tensor([[[1.0, 0.0, 1.0]], [[0.0, 0.0, 0.0]]])
        >>> count_activity(layer, spikes)[0].operations.tolist()
        [[10], [0]]
    """
    layers = {name: module for name, module in model.named_modules() if is_weight_layer(name, module)}
    if not layers:
        raise InputError(f"model: expected an nn.Linear or nn.Conv layer; got a {type(model).__name__} without one")
    if batch_size is not None:
        check_positive("batch_size", batch_size, integer=True)
    calls: dict[nn.Module, list[_Call]] = {}
    parts: dict[str, list[LayerCalls]] = {name: [] for name in layers}

    def record(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Tensor) -> None:
        calls.setdefault(module, []).append(_count_call(module, args[0] if args else kwargs["input"], output))

    with evaluation_mode(model):
        handles = [module.register_forward_hook(record, with_kwargs=True) for module in layers.values()]
        try:
            for block in inputs.split(batch_size or len(inputs)):
                rest(model)
                outputs = model(block)
                if not isinstance(outputs, Tensor) or outputs.dim() not in (2, 3):
                    raise InputError(f"model: expected outputs [T, N, C] or [N, C]; got {describe(outputs)}")
                size = (1, len(outputs)) if outputs.dim() == 2 else (len(outputs), outputs.shape[1])
                for name, module in layers.items():
                    parts[name].append((calls.pop(module, []), size))
        finally:
            for handle in handles:
                handle.remove()
    return tuple(_total(shown_name(name, layers[name]), blocks) for name, blocks in parts.items())


@dataclass(frozen=True)
class _Call:
    """One call of a layer, with leading axes [...] such as [T, N]."""

    value: float | None  #: the value of all spikes; None if inputs differ, 0 if all are zero
    by_spikes: Tensor | None  #: operations if inputs are spikes, all and those of nonzero weights, int64 [..., 2]
    dense: Tensor  #: the same if inputs are not spikes


LayerCalls = tuple[list[_Call], tuple[int, int]]
"""The calls of a layer in one run of the network on some inputs, and its sizes T and N."""


def _count_call(layer: Any, inputs: Tensor, output: Tensor) -> _Call:
    """Operations of one call, for each place in the leading axes of its inputs."""
    axes = len(getattr(layer, "kernel_size", ())) + 1
    if inputs.dim() > axes + 1 and is_constant(inputs):
        inputs = single_step(inputs)[None]
    if inputs.dtype == torch.uint8:  # packed
        inputs = unpack_spikes(inputs, layer.in_features)
    places, value = inputs.shape[:-axes], _spike_value(inputs)
    weights = torch.stack([torch.ones_like(layer.weight), (layer.weight != 0).to(layer.weight)])
    dense = weights.flatten(1).sum(1, dtype=torch.float64) * positions(layer, inputs, output)
    by_spikes = None
    if value is not None:
        active = (inputs != 0).reshape(-1, *inputs.shape[-axes:]).to(layer.weight)
        uses = torch.stack([_count_pairs(layer, active, weight) for weight in weights], dim=-1)
        by_spikes = uses.round().long().reshape(*places, 2)
    return _Call(value, by_spikes, dense.round().long().expand(*places, 2))


def _spike_value(inputs: Tensor) -> float | None:
    """The value of all inputs that are not zero; 0 if all are zero, None if they differ."""
    nonzero = inputs[inputs != 0]
    if not nonzero.numel():
        return 0.0
    low, high = torch.aminmax(nonzero.float())
    return low.item() if low == high else None


def _count_pairs(layer: Any, active: Tensor, weight: Tensor) -> Tensor:
    """Number of times that a 1 in binary inputs [n, ...] meets a 1 in a binary `weight`, float64 [n]."""
    if not is_conv("", layer):
        return active.double() @ weight.sum(0, dtype=torch.float64)
    # All output channels of a group read the same inputs, so their kernels can be summed.
    if isinstance(layer, TRANSPOSED):
        transposed = getattr(functional, f"conv_transpose{len(layer.kernel_size)}d")
        sizes = (layer.stride, layer.padding, layer.output_padding, layer.groups, layer.dilation)
        met = transposed(active, weight.sum(1, keepdim=True), None, *sizes)
    else:
        met = layer._conv_forward(active, weight.unflatten(0, (layer.groups, -1)).sum(1), None)
    return met.sum(tuple(range(1, met.dim())), dtype=torch.float64)


def _total(name: str, blocks: Sequence[LayerCalls]) -> LayerActivity:
    values = {call.value for calls, _ in blocks for call in calls} - {0.0}
    spiking = len(values) <= 1 and None not in values
    counts = [
        _by_step(name, [call.by_spikes if spiking else call.dense for call in calls], *size) for calls, size in blocks
    ]
    return LayerActivity(name, spiking, *torch.cat(counts, dim=1).unbind(-1))


def _by_step(name: str, calls: Sequence[Tensor | None], steps: int, count: int) -> Tensor:
    """Counts [T, N, 2] from those of a layer's calls [..., 2], each for all steps or for a single step."""
    total = torch.zeros(steps, count, 2, dtype=torch.int64)
    single = []
    for call in calls:
        assert call is not None
        places = call.numel() // 2
        if places == count:
            single.append(call.cpu().reshape(count, 2))
        elif places == steps * count:
            total += call.cpu().reshape(steps, count, 2)
        else:
            wanted = f"layer {name!r} to run on {steps} steps of {count} inputs, at once or one by one"
            raise InputError(f"model: expected {wanted}; got a run on {places}")
    if single and len(single) % steps == 0:
        total += torch.stack(single).reshape(steps, -1, count, 2).sum(1)
    elif len(single) < steps:  # constant input is computed once
        total[0] += sum(single)
    else:
        raise InputError(f"model: expected layer {name!r} to run as often in each step; got {len(single)} runs")
    return total
