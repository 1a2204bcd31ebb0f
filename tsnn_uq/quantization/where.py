"""Which layers: predicates over (name, module), so that "all", "conv" and "fc" need no branches."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable

from torch import nn
from torch.nn.utils.parametrize import type_before_parametrizations

from tsnn_uq.checks import InputError, check_choice
from tsnn_uq.quantization.channels import TRANSPOSED

__all__ = ["PARTS", "Where", "is_conv", "is_fc", "is_weight_layer", "select_layers"]

Predicate = Callable[[str, nn.Module], bool]
Where = str | Iterable[str] | Predicate

_CONV = (nn.Conv1d, nn.Conv2d, nn.Conv3d, *TRANSPOSED)


def is_conv(name: str, module: nn.Module) -> bool:
    """Whether `module` is a convolution (a subclass too)."""
    return isinstance(module, _CONV)


def is_fc(name: str, module: nn.Module) -> bool:
    """Whether `module` is a fully connected layer (a subclass too)."""
    return isinstance(module, nn.Linear)


def is_weight_layer(name: str, module: nn.Module) -> bool:
    """Whether `module` is fully connected or a convolution."""
    return is_conv(name, module) or is_fc(name, module)


PARTS: dict[str, Predicate] = {"all": is_weight_layer, "conv": is_conv, "fc": is_fc}


def select_layers(model: nn.Module, layers: Where = "all") -> dict[str, nn.Module]:
    """The layers of `model` that are meant, by name.

    Args:
        model: any module.
        layers: ``"all"``, ``"conv"``, ``"fc"``, names of layers, or a predicate (name, module) -> bool.

    Raises:
        InputError: nothing matches, or a name is not a layer with weights; lists the layers there are.
    """
    found = {name: module for name, module in model.named_modules() if is_weight_layer(name, module)}
    listing = (
        ", ".join(name or type_before_parametrizations(module).__name__ for name, module in found.items()) or "none"
    )
    if isinstance(layers, str):
        if layers in found and layers not in PARTS:
            raise InputError(f"layers: expected names in a list; got {layers!r} alone (write [{layers!r}])")
        layers = PARTS[check_choice("layers", layers, PARTS)]
    if callable(layers):
        chosen = {name: module for name, module in found.items() if layers(name, module)}
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
