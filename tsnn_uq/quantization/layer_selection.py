"""Select layers of a network: by kind, by name, by a predicate, or all but the first and the last."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping

from torch import nn
from torch.nn.utils.parametrize import type_before_parametrizations

from tsnn_uq.checks import InputError, check_choice
from tsnn_uq.quantization.channels import TRANSPOSED

__all__ = ["PARTS", "Where", "is_conv", "is_fc", "is_weight_layer", "select_layers"]

Predicate = Callable[[str, nn.Module], bool]
Choice = Callable[[Mapping[str, nn.Module]], dict[str, nn.Module]]
Where = str | Iterable[str] | Predicate

_CONV = (nn.Conv1d, nn.Conv2d, nn.Conv3d, *TRANSPOSED)


def is_conv(name: str, module: nn.Module) -> bool:
    """Whether `module` is a convolution, including subclasses."""
    return isinstance(module, _CONV)


def is_fc(name: str, module: nn.Module) -> bool:
    """Whether `module` is a fully connected layer, including subclasses."""
    return isinstance(module, nn.Linear)


def is_weight_layer(name: str, module: nn.Module) -> bool:
    """Whether `module` is fully connected or a convolution."""
    return is_conv(name, module) or is_fc(name, module)


def _where(predicate: Predicate) -> Choice:
    return lambda layers: {name: layer for name, layer in layers.items() if predicate(name, layer)}


PARTS: dict[str, Choice] = {
    "all": dict,
    "inner": lambda layers: dict(list(layers.items())[1:-1]),
    "conv": _where(is_conv),
    "fc": _where(is_fc),
}
"""Name -> function that selects from a network's layers with weights, in the order of registration."""


def select_layers(model: nn.Module, layers: Where = "all") -> dict[str, nn.Module]:
    """The selected layers of `model`, by name.

    Args:
        model: any module.
        layers: ``"all"``, ``"inner"`` (all but the first and the last one, in the order in which the network registers
            them), ``"conv"``, ``"fc"``, names of layers, or a predicate (name, module) -> bool.

    Raises:
        InputError: nothing matches, or a name is not a layer with weights; the message lists the available layers.
    """
    found = {name: module for name, module in model.named_modules() if is_weight_layer(name, module)}
    listing = (
        ", ".join(name or type_before_parametrizations(module).__name__ for name, module in found.items()) or "none"
    )
    if isinstance(layers, str):
        if layers in found and layers not in PARTS:
            raise InputError(f"layers: expected names in a list; got {layers!r} alone (write [{layers!r}])")
        chosen = PARTS[check_choice("layers", layers, PARTS)](found)
    elif callable(layers):
        chosen = _where(layers)(found)
    else:
        chosen = {_known(name, found, listing): found[name] for name in layers}
    if not chosen:
        raise InputError(f"layers: expected a choice that matches a layer; got none of: {listing}")
    return chosen


def _known(name: str, found: Iterable[str], listing: str) -> str:
    if name in found:
        return name
    near = difflib.get_close_matches(name, found, n=1)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    raise InputError(f"layers: expected names among: {listing}; got {name!r}{hint}")
