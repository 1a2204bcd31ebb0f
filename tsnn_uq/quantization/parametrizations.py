"""The steps that make a layer's weight out of its parameter: which there are, and how some of them come off."""

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
    """The parameter that a layer's tensor is, or is made of; None if there are several or none."""
    if not weight_steps(layer, name):
        return (layer._parameters | layer._buffers).get(name)
    steps: Any = layer.parametrizations
    return steps[name].original if steps[name].is_tensor else None


def parameter_name(layer: nn.Module) -> str:
    """The name of `float_parameter` in the layer's ``state_dict``."""
    return "parametrizations.weight.original" if weight_steps(layer) else "weight"


def check_weights(layers: Mapping[str, nn.Module]) -> None:
    """Raise unless each layer has a floating-point weight of its own, plain or parametrized.

    Raises:
        InputError: names the first layer whose weight a hook makes anew before each call (`torch.nn.utils.prune`, and
            ``weight_norm`` and ``spectral_norm`` of `torch.nn.utils`), or is not there yet, or holds no floats.
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
    """Whether a parametrization leaves a weight as it is in evaluation mode, as dropconnect does."""
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
    """Take the parametrizations of one kind off a layer's tensor, in place; the others stay, as does the parameter.

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
    # A deep copy shares this class, and torch is about to take the property from it.
    shared = type(layer)
    layer.__class__ = type(shared.__name__, shared.__bases__, dict(vars(shared)))
    parametrize.remove_parametrizations(layer, name, leave_parametrized=False)
    for other in order:
        layer._parameters[other] = layer._parameters.pop(other)  # the tensor comes first, as optimizers count them
    return True
