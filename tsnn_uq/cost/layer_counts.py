"""Weights, multiply-accumulates (MACs) and sparsity of each layer of any network."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from tsnn_uq.batches import Data, Source, device_of, open_data
from tsnn_uq.checks import InputError, check_choice, check_fraction, describe
from tsnn_uq.cost.layer_positions import positions_per_step, shown_name
from tsnn_uq.quantization.channels import outputs_first, transposed_groups
from tsnn_uq.quantization.layer_selection import is_conv, is_weight_layer
from tsnn_uq.quantization.parametrizations import float_parameter
from tsnn_uq.quantization.rules import ternary_parts
from tsnn_uq.state import evaluation_mode

__all__ = ["LayerCount", "count_layers", "ternary_scales"]


@dataclass(frozen=True)
class LayerCount:
    """Storage of one layer, and its operations for one input in one time step.

    Returned by `count_layers`, or built by hand for a network of which only the geometry is known.

    Args:
        name: path of the module in the network.
        kind: ``"conv"``, ``"fc"``, or ``"other"`` for a module that stores numbers but is counted without MACs.
        weights: number of stored weights without biases; 0 if an earlier layer stores them.
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

    @property
    def bits(self) -> int:
        """Bits of a stored weight."""
        return 2 if self.ternary else 32

    def __post_init__(self) -> None:
        check_choice("kind", self.kind, ("conv", "fc", "other"))
        check_fraction("sparsity", self.sparsity)
        for field in ("weights", "macs", "scales", "extras"):
            if getattr(self, field) < 0:
                raise InputError(f"{field}: expected a count of at least 0; got {getattr(self, field)}")


def count_layers(model: nn.Module, example_input: Data | Source, *, batch_dim: int = 0) -> tuple[LayerCount, ...]:
    """Count every layer of `model`; sizes come from one forward pass in evaluation mode.

    MACs are ``weights`` for a linear layer, ``weights x output positions`` for a convolution (each weight is used once
    per output position, with any groups, stride, dilation and padding), and ``weights x input positions`` for a
    transposed one. They do not depend on how often the network runs a layer for its time steps, or whether it folds
    them into the batch. A layer that is called several times in each step counts several times
    (`tsnn_uq.cost.layer_positions` distinguishes the two cases). A linear layer is assumed to act once on each input,
    not along a further axis of tokens.

    Shared tensors are stored once: a layer that is used at several places is listed once, by its first name, and a
    weight or bias that several layers share is counted with the first of them.

    Besides `nn.Linear` and the convolutions of `torch.nn` with their subclasses, all other modules that own parameters
    are listed as ``"other"``: they are stored but cost no MACs. For batch normalization these are two numbers per
    channel, since its running statistics can be folded in.

    Parametrized weights are read as the layer uses them. The training mode of every module is restored; the state of
    the network is reset before and after.

    Args:
        model: any module.
        example_input: inputs of `model`, e.g. [N, ...] or [T, N, ...], with any N and T; or a Dataset or DataLoader,
            of which the first two inputs are used.
        batch_dim: the axis along which items of a Dataset are stacked.

    Returns:
        The counts, in the order of ``model.named_modules()``.

    Raises:
        InputError: there is no layer to count, a layer did not run or ran with other sizes in one step than in the
            next, or a weight matrix belongs to a module whose MACs are unknown.

    Example:
        >>> for layer in count_layers(nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(16, 3)),
        ...                           torch.zeros(7, 1, 4, 4)):
        ...     print(layer.name, layer.kind, layer.weights, layer.macs, layer.extras)
        0 conv 36 144 4
        2 fc 48 48 3
    """
    layers = {name: module for name, module in model.named_modules() if is_weight_layer(name, module)}
    if not layers:
        raise InputError(f"model: expected an nn.Linear or nn.Conv layer; got a {type(model).__name__} without one")
    if not isinstance(example_input, Tensor):
        example_input = open_data("example_input", example_input, batch_dim=batch_dim).first(2).to(device_of(model))
    with evaluation_mode(model):
        positions = positions_per_step(model, layers, example_input)
        counts: list[LayerCount] = []
        stored: dict[Tensor, list[Tensor]] = {}  # parameter -> the tensors that layers compute from it
        inside_layers: set[nn.Module] = set()
        for name, module in model.named_modules():
            shown = shown_name(name, module)
            if name in layers:
                inside_layers.update(module.modules())  # including the originals of parametrized weights
                counts.append(_count_layer(shown, module, positions[name], stored))
            elif module not in inside_layers:
                counts.extend(_count_other(shown, module, stored))
    return tuple(counts)


def _is_new(stored: dict[Tensor, list[Tensor]], parameter: Tensor | None, values: Tensor) -> bool:
    """Whether no earlier layer stores the same values of the same parameter; registers them."""
    before = stored.setdefault(values if parameter is None else parameter, [])
    new = not any(torch.equal(values, others) for others in before)
    before.append(values)
    return new


def ternary_scales(weight: Tensor) -> int:
    """Number of scales with which `weight` is ternary; 0 if it is not.

    This follows `tsnn_uq.quantization.rules.ternary_parts`, with one exception: a weight that would need as many scales
    as it has elements, such as the float weight of a layer with a single input, does not count as ternary. A weight of
    zeros has one scale.

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


def _count_layer(name: str, layer: Any, positions: int, stored: dict[Tensor, list[Tensor]]) -> LayerCount:
    weight = layer.weight
    scales = ternary_scales(outputs_first(weight, transposed_groups(layer)))
    new = _is_new(stored, float_parameter(layer), weight)
    return LayerCount(
        name=name,
        kind="conv" if is_conv(name, layer) else "fc",
        weights=weight.numel() if new else 0,
        macs=weight.numel() * positions,
        sparsity=int((weight == 0).sum()) / weight.numel(),
        ternary=scales > 0,
        scales=scales if new else 0,
        extras=layer.bias.numel() if layer.bias is not None and _is_new(stored, None, layer.bias) else 0,
    )


def _count_other(name: str, module: nn.Module, stored: dict[Tensor, list[Tensor]]) -> Iterator[LayerCount]:
    parameters = list(module.parameters(recurse=False))
    for parameter in parameters:
        # Two axes longer than one: most likely a weight matrix, whose MACs must not be counted as zero.
        if sum(size > 1 for size in parameter.shape) > 1:
            problem = f"{describe(parameter.data)} in {name!r}, a {type(module).__name__}"
            raise InputError(f"model: expected weights in nn.Linear or nn.Conv layers; got {problem}; count it by hand")
    if parameters:
        extras = sum(parameter.numel() for parameter in parameters if _is_new(stored, None, parameter))
        yield LayerCount(name, "other", weights=0, macs=0, extras=extras)
