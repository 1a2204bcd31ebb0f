"""Inspect and remove the parametrizations of a layer's weight."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.nn.utils import parametrize

from tsnn_uq.checks import InputError, describe

__all__ = ["check_weights", "float_parameter", "is_mask", "parameter_name", "remove_steps", "weight_steps"]


def weight_steps(layer: nn.Module, name: str = "weight") -> list[nn.Module]:
    """The parametrizations of a layer's tensor, in order; none if it is plain."""
    if not parametrize.is_parametrized(layer, name):
        return []
    steps: Any = layer.parametrizations
    return list(steps[name])


def float_parameter(layer: nn.Module, name: str = "weight") -> Tensor | None:
    """The parameter of a layer's tensor, plain or parametrized; None if there are several or none."""
    if not weight_steps(layer, name):
        return (layer._parameters | layer._buffers).get(name)
    steps: Any = layer.parametrizations
    return steps[name].original if steps[name].is_tensor else None


def parameter_name(layer: nn.Module) -> str:
    """The name of `float_parameter` in the layer's ``state_dict``."""
    return "parametrizations.weight.original" if weight_steps(layer) else "weight"


def check_weights(layers: Mapping[str, nn.Module]) -> None:
    """Raise unless each layer has a floating-point weight, plain or parametrized.

    Raises:
        InputError: names the first layer whose weight a hook recomputes before each call (`torch.nn.utils.prune`, and
            ``weight_norm`` and ``spectral_norm`` of `torch.nn.utils`), is not initialized, or is not floating-point.
    """
    for name, layer in layers.items():
        if weight_steps(layer):
            continue
        weight = float_parameter(layer)
        if weight is None:
            remedy = "undo that first: torch.nn.utils.prune.remove, remove_weight_norm or remove_spectral_norm"
            problem = f"that of {name!r} is computed by a hook ({remedy})"
        elif is_lazy(weight):
            problem = f"that of {name!r} has no shape yet (run the network once first)"
        elif not weight.is_floating_point():
            problem = f"that of {name!r} is {describe(weight)}"
        else:
            continue
        raise InputError(f"layers: expected weights that are floating-point parameters; {problem}")


@torch.no_grad()
def is_mask(step: nn.Module, parameter: Tensor | None) -> bool:
    """Whether a parametrization does not change a weight in evaluation mode, like dropconnect."""
    if parameter is None:
        return False
    modes = [(module, module.training) for module in step.modules()]
    step.eval()
    try:
        return torch.equal(step(parameter), parameter)
    finally:
        for module, mode in modes:
            module.training = mode


def remove_steps(layer: nn.Module, kind: type[nn.Module], name: str = "weight") -> bool:
    """Remove the parametrizations of one kind from a layer's tensor, in place; the others and the parameter are kept.

    Returns:
        Whether there were any.
    """
    found = [place for place, step in enumerate(weight_steps(layer, name)) if isinstance(step, kind)]
    if not found:
        return False
    steps: Any = layer.parametrizations
    if len(found) < len(steps[name]):
        for place in reversed(found):
            del steps[name][place]
        return True
    order = list(layer._parameters)
    # Deep copies share this class, and torch removes the property from it.
    shared = type(layer)
    layer.__class__ = type(shared.__name__, shared.__bases__, dict(vars(shared)))
    parametrize.remove_parametrizations(layer, name, leave_parametrized=False)
    for other in order:
        layer._parameters[other] = layer._parameters.pop(other)  # keep it first, as optimizers count
    return True
