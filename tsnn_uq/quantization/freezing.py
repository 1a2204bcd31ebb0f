"""Replace ternary parametrizations by plain ternary weights after training."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any, cast

import torch
from torch import Tensor, nn

from tsnn_uq.checks import InputError
from tsnn_uq.quantization.parametrizations import float_parameter, is_mask, remove_steps, weight_steps
from tsnn_uq.quantization.ternary import Ternary

__all__ = ["freeze"]


@torch.no_grad()
def freeze(model: nn.Module) -> list[str]:
    """Replace every ternary parametrization by its ternary weight, in place.

    Nothing else changes. Other parametrizations, such as dropconnect, are kept, and their masks do not enter the weight
    in any mode. A parameter that several layers share stays shared if its ternary weight is the same in all of them.

    Returns:
        The layers' names.

    Raises:
        InputError: a parametrization other than a mask precedes the ternary one, so the weight would change. Nothing
            is changed in that case.
    """
    found: list[tuple[str, nn.Module, str]] = []
    frozen: dict[int, list[tuple[Any, Tensor]]] = defaultdict(list)  # parameter -> its owners and their frozen weights
    for name, module in model.named_modules():
        for tensor in getattr(module, "parametrizations", ()):
            if any(isinstance(step, Ternary) for step in weight_steps(module, tensor)):
                weight, holder = _frozen(name, module, tensor), cast(Any, module.parametrizations)[tensor]
                found.append((name, module, tensor))
                frozen[id(holder.original)].append((holder, weight))
    holders = Counter(id(parameter) for module in model.modules() for parameter in module._parameters.values())
    for (first, weight), *others in frozen.values():
        if holders[id(first.original)] <= len(others) + 1 and all(torch.equal(weight, other) for _, other in others):
            first.original.set_(weight)  # keep the parameter object that an optimizer holds
        else:
            for holder, own in ((first, weight), *others):
                holder.original = nn.Parameter(own, holder.original.requires_grad)
    for _, module, tensor in found:
        remove_steps(module, Ternary, tensor)
    return [name for name, _, _ in found]


def _frozen(name: str, layer: nn.Module, tensor: str) -> Tensor:
    """The ternary weight of a layer, without any mask."""
    steps, weight = weight_steps(layer, tensor), float_parameter(layer, tensor)
    last = max(place for place, step in enumerate(steps) if isinstance(step, Ternary))
    for step in steps[: last + 1]:
        if weight is not None and isinstance(step, Ternary):
            weight = step.ternary(weight)
        elif not is_mask(step, weight):
            problem = f"{name!r} has {type(step).__name__} there (remove it first)"
            raise InputError(f"model: expected nothing but masks before the ternary step of a weight; {problem}")
    return cast(Tensor, weight).contiguous()
