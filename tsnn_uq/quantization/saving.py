"""Save and load networks, ternary weights at two bits each.

In the file, a ternary weight ``fc.weight`` stands as ``fc.weight.codes`` (packed, uint8) and
``fc.weight.scale`` (float32, one value or one an output channel); all else as it is. The weight that comes
back is scale * code, which is bit for bit the weight that was saved.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tsnn_uq.checks import InputError
from tsnn_uq.files import read_tensors, write_tensors
from tsnn_uq.quantization.packing import pack, unpack

__all__ = ["load_weights", "save_weights", "ternary_parts"]

KIND = "weights"


def ternary_parts(weight: Tensor) -> tuple[Tensor, Tensor] | None:
    """Take a ternary weight apart into codes (int8, its shape) and scales; ``None`` if it is not ternary.

    A weight is ternary if each output channel (axis 0) holds at most 0 and one magnitude. The scale is one
    value where all channels share it, else one a channel, shaped to broadcast.
    """
    magnitude = weight.detach().reshape(len(weight), -1).abs()
    scale = magnitude.amax(1, keepdim=True)
    if not ((magnitude == 0) | (magnitude == scale)).all():
        return None
    used = scale[scale > 0].unique()
    if len(used) <= 1:
        scale = used.reshape(-1, 1) if len(used) else scale.new_ones(1, 1)
    return weight.detach().sign().to(torch.int8), scale.reshape(-1, *[1] * (weight.dim() - 1))


def save_weights(path: Path, model: nn.Module, *, ternary: Iterable[str] = (), header: Mapping[str, Any]) -> None:
    """Save a network's parameters and buffers, atomically.

    Args:
        path: the file, ``.safetensors``.
        model: the network, its ternary weights frozen (`tsnn_uq.quantization.freeze`).
        ternary: names of the layers whose weights are packed two bits each.
        header: what else to keep, JSON-able.

    Raises:
        InputError: a layer said to be ternary holds more than three distinct values per scale group.
    """
    tensors = dict(model.state_dict())
    shapes: dict[str, list[int]] = {}
    for layer in ternary:
        name = f"{layer}.weight" if layer else "weight"
        parts = ternary_parts(tensors[name]) if name in tensors else None
        if parts is None:
            raise InputError(f"{name}: expected a frozen ternary weight with at most one magnitude besides 0; got others")
        weight = tensors.pop(name)
        shapes[name] = list(weight.shape)
        tensors[f"{name}.codes"], tensors[f"{name}.scale"] = pack(parts[0]), parts[1].float()
    write_tensors(path, tensors, {"kind": KIND, "shapes": shapes, **header})


def load_weights(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what `save_weights` wrote, as (state dict, header); ternary weights are unpacked to float32.

    Raises:
        InputError: the file is missing, damaged or of another kind.
    """
    tensors, header = read_tensors(path, KIND)
    for name, shape in header.pop("shapes", {}).items():
        try:
            codes, scale = tensors.pop(f"{name}.codes"), tensors.pop(f"{name}.scale")
        except KeyError as error:
            raise InputError(f"{path}: expected codes and scale of {name}; one is missing; the file is damaged") from error
        tensors[name] = unpack(codes, shape).to(scale.dtype) * scale
    return tensors, header
