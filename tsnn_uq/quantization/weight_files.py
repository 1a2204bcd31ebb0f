"""Save and load networks, with ternary weights in two bits each.

A ternary weight ``fc.weight`` is stored as ``fc.weight.codes`` (packed, uint8) and ``fc.weight.scale`` (in the dtype of
the weight, one value or one per output channel); all other tensors are stored unchanged. Both have the output channels
first, also for transposed convolutions (`tsnn_uq.quantization.channels`), whose groups are in the header. The loaded
weight is scale * code, bit for bit the saved one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from tsnn_uq.checks import InputError
from tsnn_uq.files import read_tensors, write_tensors
from tsnn_uq.quantization.channels import outputs_first, transposed_groups
from tsnn_uq.quantization.layer_selection import is_weight_layer
from tsnn_uq.quantization.packing import pack, unpack_weight
from tsnn_uq.quantization.parametrizations import float_parameter, parameter_name, weight_steps
from tsnn_uq.quantization.rules import ternary_parts
from tsnn_uq.quantization.ternary import Ternary

__all__ = ["load_weights", "save_weights"]

KIND = "weights"


def save_weights(
    path: str | Path, model: nn.Module, *, ternary: Iterable[str] | None = None, header: Mapping[str, Any] | None = None
) -> None:
    """Save a network's parameters and buffers, atomically.

    Args:
        path: the file, ``.safetensors``.
        model: the network, its ternary weights frozen (`tsnn_uq.quantization.freeze`).
        ternary: names of the layers whose weights are packed; by default all layers with ternary weights.
        header: further values to store, JSON-serializable.

    Raises:
        InputError: a layer named in `ternary` does not exist, is not frozen, or is not ternary.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> from tsnn_uq.quantization import freeze, load_weights, save_weights, ternarize
        >>> network = nn.Sequential(nn.Linear(64, 10))
        >>> names = ternarize(network), freeze(network)
        >>> with TemporaryDirectory() as folder:
        ...     save_weights(f"{folder}/network.safetensors", network)
        ...     state, header = load_weights(f"{folder}/network.safetensors")
        >>> network.load_state_dict(state)
        <All keys matched successfully>
    """
    tensors = dict(model.state_dict())
    shapes: dict[str, list[int]] = {}
    transposed: dict[str, int] = {}
    modules = dict(model.named_modules(remove_duplicate=False))
    for layer in _ternary_layers(modules) if ternary is None else ternary:
        module = modules.get(layer, nn.Identity())
        name = f"{layer}.{parameter_name(module)}".lstrip(".")
        if name not in tensors or any(isinstance(step, Ternary) for step in weight_steps(module)):
            raise InputError(f"ternary: expected names of layers with plain weights (freeze() first); got {layer!r}")
        groups = transposed_groups(module)
        parts = ternary_parts(outputs_first(tensors.pop(name), groups))
        if parts is None:
            raise InputError(f"{name}: expected a ternary weight, one magnitude besides 0 a channel; got others")
        shapes[name], transposed[name] = list(parts[0].shape), groups
        tensors[f"{name}.codes"], tensors[f"{name}.scale"] = pack(parts[0]), parts[1]
    write_tensors(path, tensors, {**(header or {}), "kind": KIND, "shapes": shapes, "transposed": transposed})


def _ternary_layers(modules: Mapping[str, nn.Module]) -> list[str]:
    """The names of fully connected and convolutional layers whose weights are ternary and frozen."""
    return [name for name, module in modules.items() if is_weight_layer(name, module) and _is_ternary(module)]


def _is_ternary(layer: nn.Module) -> bool:
    weight = float_parameter(layer)
    if weight is None or any(isinstance(step, Ternary) for step in weight_steps(layer)):
        return False
    return ternary_parts(outputs_first(weight, transposed_groups(layer))) is not None


def load_weights(path: str | Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read a file of `save_weights` as (state dict, header); ternary weights are unpacked to floats.

    Raises:
        InputError: the file is missing, damaged or of another kind.
    """
    tensors, header = read_tensors(path, KIND)
    transposed = header.pop("transposed", {})
    for name, shape in header.pop("shapes", {}).items():
        try:
            codes, scale = tensors.pop(f"{name}.codes"), tensors.pop(f"{name}.scale")
            tensors[name] = unpack_weight(codes, shape, scale, transposed.get(name, 0))
        except KeyError as error:
            raise InputError(f"{path}: expected codes and scale of {name}; {error} is missing") from error
        except InputError as error:
            raise InputError(f"{path}: {name}: {error}") from error
    return tensors, header
