"""Weights, multiply-accumulates (MACs) and sparsity of each layer of any network."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tsnn_uq.checks import InputError, check_choice, check_fraction, describe
from tsnn_uq.quantization.rules import ternary_parts
from tsnn_uq.state import evaluating

__all__ = ["LayerCount", "count_layers", "ternary_scales"]

_Convolution = nn.Conv1d | nn.Conv2d | nn.Conv3d
_Layer = nn.Linear | _Convolution


@dataclass(frozen=True)
class LayerCount:
    """What one layer stores, and does for one input in one time step.

    Made by `count_layers`, or by hand for a network of which only the geometry is known.

    Args:
        name: path of the module in the network.
        kind: ``"conv"``, ``"fc"``, or ``"other"`` for a module that stores numbers but is counted without MACs.
        weights: number of weights, without biases.
        macs: multiply-accumulates for one input and one time step if nothing is skipped.
        sparsity: share of the weights that are zero.
        ternary: whether the weights are -s, 0 and +s.
        scales: number of different s; one for the tensor, or one for each output channel.
        extras: float32 numbers stored beside the weights: biases, normalization, learned neuron constants.
    """

    name: str
    kind: str
    weights: int
    macs: int
    sparsity: float = 0.0
    ternary: bool = False
    scales: int = 0
    extras: int = 0

    def __post_init__(self) -> None:
        check_choice("kind", self.kind, ("conv", "fc", "other"))
        check_fraction("sparsity", self.sparsity)
        for field in ("weights", "macs", "scales", "extras"):
            if getattr(self, field) < 0:
                raise InputError(f"{field}: expected a count of at least 0; got {getattr(self, field)}")


def count_layers(model: nn.Module, example_input: Tensor) -> tuple[LayerCount, ...]:
    """Count every layer of `model`, sizes found by one forward pass in evaluation mode.

    MACs come from geometry: ``weights`` for a linear layer, ``weights x output positions`` for a convolution (a
    weight meets every output position once; groups, stride, dilation and padding are in that product). So it does not
    matter how often the network runs a layer for its time steps, or whether it folds them into the batch. In return a
    linear layer is taken to act once on an input, not along a further axis of tokens.

    Besides `nn.Linear` and `nn.Conv1d/2d/3d` with their subclasses, all other modules that own parameters are listed
    as ``"other"``: they are stored but cost no MACs. Of a batch normalization these are the two numbers a channel
    that are left when its running statistics are folded in.

    Parametrized weights are read as the layer uses them. The training mode of every module is restored; a network that
    keeps state between calls is put to rest before and after.

    Args:
        model: any module.
        example_input: what `model` is called with, e.g. [N, ...] or [T, N, ...]; its N and T do not matter.

    Returns:
        The counts, in the order of ``model.named_modules()``.

    Raises:
        InputError: there is no layer to count, a layer did not run or ran with outputs of several sizes, or a weight
            matrix stands in a module whose MACs are unknown.

    Example:
        >>> for layer in count_layers(nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(16, 3)),
        ...                           torch.zeros(7, 1, 4, 4)):
        ...     print(layer.name, layer.kind, layer.weights, layer.macs, layer.extras)
        0 conv 36 144 4
        2 fc 48 48 3
    """
    layers = {name: module for name, module in model.named_modules() if isinstance(module, _Layer)}
    if not layers:
        raise InputError(f"model: expected an nn.Linear or nn.Conv layer; got a {type(model).__name__} without one")
    with evaluating(model):
        positions = _output_positions(model, layers, example_input)
        counts = []
        inside_layers: set[nn.Module] = set()
        for name, module in model.named_modules():
            if isinstance(module, _Layer):
                inside_layers.update(module.modules())  # among them the originals of parametrized weights
                counts.append(_count_layer(name or type(module).__name__, module, positions[name]))
            elif module not in inside_layers:
                counts.extend(_count_other(name or type(module).__name__, module))
    return tuple(counts)


def ternary_scales(weight: Tensor) -> int:
    """Number of scales with which `weight` is ternary; 0 if it is not.

    What is ternary is said by `tsnn_uq.quantization.rules.ternary_parts`, with one exception: a weight that would need
    as many scales as it has elements, such as the float weight of a layer with a single input, is not counted as
    ternary, since there is nothing to gain from codes. A weight of zeros only has one scale.

    Args:
        weight: [out, ...], at least two axes.

    Example:
        >>> ternary_scales(torch.tensor([[0.5, -0.5], [0.0, 0.5]]))
        1
        >>> ternary_scales(torch.tensor([[2.0, 0.0], [3.0, -3.0]]))
        2
        >>> ternary_scales(torch.tensor([[0.1, 0.2], [0.3, 0.4]]))
        0
    """
    parts = ternary_parts(weight)
    scales = 0 if parts is None else parts[1].numel()
    return scales if scales < weight.numel() else 0


def _count_layer(name: str, layer: _Layer, positions: set[int]) -> LayerCount:
    if len(positions) != 1:
        problem = f"output sizes {sorted(positions)}" if positions else "a layer that did not run"
        raise InputError(f"model: expected layer {name!r} to run with one output size; got {problem}")
    weight = layer.weight
    scales = ternary_scales(weight)
    (positions_of_output,) = positions
    return LayerCount(
        name=name,
        kind="conv" if isinstance(layer, _Convolution) else "fc",
        weights=weight.numel(),
        macs=weight.numel() * positions_of_output,
        sparsity=int((weight == 0).sum()) / weight.numel(),
        ternary=scales > 0,
        scales=scales,
        extras=0 if layer.bias is None else layer.bias.numel(),
    )


def _count_other(name: str, module: nn.Module) -> Iterator[LayerCount]:
    parameters = list(module.parameters(recurse=False))
    for parameter in parameters:
        # Two axes longer than one: most likely a matrix to multiply with, and calling that free would be wrong.
        if sum(size > 1 for size in parameter.shape) > 1:
            problem = f"{describe(parameter.data)} in {name!r}, a {type(module).__name__}"
            raise InputError(f"model: expected weights in nn.Linear or nn.Conv layers; got {problem}; count it by hand")
    if parameters:
        yield LayerCount(name, "other", weights=0, macs=0, extras=sum(parameter.numel() for parameter in parameters))


def _output_positions(model: nn.Module, layers: Mapping[str, _Layer], example_input: Tensor) -> dict[str, set[int]]:
    """Numbers of output positions with which each layer ran; a linear layer has one."""
    positions: dict[str, set[int]] = {name: set() for name in layers}

    def watch(name: str, layer: _Layer) -> torch.utils.hooks.RemovableHandle:
        axes = layer.weight.dim() - 2 if isinstance(layer, _Convolution) else 0

        def record(module: nn.Module, inputs: object, output: Tensor) -> None:
            positions[name].add(math.prod(output.shape[output.dim() - axes :]))

        return layer.register_forward_hook(record)

    handles = [watch(name, layer) for name, layer in layers.items()]
    try:
        model(example_input)
    finally:
        for handle in handles:
            handle.remove()
    return positions
