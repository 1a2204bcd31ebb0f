"""How often a network runs a layer in one time step, and at how many positions of an image."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from torch.nn.utils.parametrize import type_before_parametrizations

from tsnn_uq.checks import InputError
from tsnn_uq.quantization.channels import TRANSPOSED

__all__ = ["positions", "positions_per_step", "shown_name"]


def shown_name(name: str, module: nn.Module) -> str:
    """The path of a module in its network, or the class name of the network itself."""
    return name or type_before_parametrizations(module).__name__


def positions(layer: nn.Module, inputs: Tensor, output: Tensor) -> int:
    """Number of positions at which a layer's weights are used for one input in one call; see `positions_per_step`."""
    axes = len(getattr(layer, "kernel_size", ()))
    where = inputs if isinstance(layer, TRANSPOSED) else output
    return math.prod(where.shape[where.dim() - axes :])


def positions_per_step(model: nn.Module, layers: Mapping[str, nn.Module], example_input: Tensor) -> dict[str, int]:
    """Number of positions at which each layer's weights are used for one input in one time step, over all its calls.

    A linear layer has one position per call, a convolution those of its output, a transposed one those of its input. A
    network that loops over its time steps calls every module once per step. The number of steps is therefore taken as
    the largest number of calls of another module that divides that of the layer. Modules with several names are left
    out, since they may be called several times per step; if there are no others, the layer is assumed to be called once
    under each of its names.

    Args:
        model: a network in evaluation mode, which is run once.
        layers: its layers, by name.
        example_input: inputs of `model`.

    Raises:
        InputError: a layer did not run, or had other sizes in one step than in the next.
    """
    inside = {inner for layer in layers.values() for inner in layer.modules()}
    leaves = [module for module in model.modules() if module not in inside and not any(module.children())]
    calls: dict[nn.Module, list[int]] = {module: [] for module in (*layers.values(), *leaves)}

    def record(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        given = (args[0] if args else kwargs["input"]) if module in inside else None
        calls[module].append(1 if given is None else positions(module, given, output))

    handles = [module.register_forward_hook(record, with_kwargs=True) for module in calls]
    try:
        model(example_input)
    finally:
        for handle in handles:
            handle.remove()
    names = Counter(module for _, module in model.named_modules(remove_duplicate=False))
    return {name: _per_step(name, layer, calls, names) for name, layer in layers.items()}


def _per_step(name: str, layer: nn.Module, calls: Mapping[nn.Module, list[int]], names: Counter[nn.Module]) -> int:
    own = calls[layer]
    others = [len(run) for module, run in calls.items() if module is not layer and names[module] == 1 and run]
    alone = len(own) // names[layer] if len(own) % names[layer] == 0 else len(own)
    steps = max((count for count in others if len(own) % count == 0), default=alone)
    once = own[: len(own) // steps] if steps else []
    if not once or own != once * steps:
        problem = f"output sizes {sorted(set(own))}" if own else "a layer that did not run"
        raise InputError(f"model: expected layer {name!r} to run with the same sizes in each time step; got {problem}")
    return sum(once)
