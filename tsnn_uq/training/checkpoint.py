"""Checkpoints from which a run resumes exactly: one safetensors file, replaced atomically.

It holds the weights, the states of the optimizer, the gradient scaler and the method, the mask generator, the loop's
counters, and the fingerprint of the settings.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tsnn_uq.batches import device_of
from tsnn_uq.checks import InputError, last_line
from tsnn_uq.files import read_tensors, write_tensors
from tsnn_uq.training.methods import Method

__all__ = ["load_checkpoint", "save_checkpoint"]

KIND = "checkpoint"


def save_checkpoint(
    path: str | Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    method: Method,
    generator: torch.Generator,
    header: dict[str, Any],
    scaler: torch.amp.GradScaler | None = None,
) -> None:
    """Write the state of a training run, atomically.

    Args:
        path: the file, ``.safetensors``.
        model: the network in training.
        optimizer: its optimizer.
        method: its method.
        generator: source of the masks.
        header: the loop's own part, JSON-serializable, with the ``"fingerprint"`` that `load_checkpoint` compares.
        scaler: the gradient scaler, if there is one.

    Raises:
        InputError: the state of the optimizer has values that are neither tensors nor numbers.
    """
    tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
    plain: dict[str, Any] = {}  # values that are not tensors
    for index, slots in optimizer.state_dict()["state"].items():
        for slot, value in slots.items():
            (tensors if isinstance(value, Tensor) else plain)[f"optimizer.{index}.{slot}"] = value
    tensors |= {f"method.{name}": value for name, value in method.state_dict().items()}
    tensors["generator"] = generator.get_state()
    if scaler is not None:
        plain |= {f"scaler.{name}": value for name, value in scaler.state_dict().items()}
    unfit = [name for name, value in plain.items() if not isinstance(value, bool | int | float | None)]
    if unfit:
        raise InputError(
            f"checkpoint: expected an optimizer whose state has only tensors and numbers; got {', '.join(unfit)}"
        )
    write_tensors(path, tensors, {"kind": KIND, "plain": plain, **header})


def load_checkpoint(
    path: str | Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    method: Method,
    generator: torch.Generator,
    fingerprint: dict[str, Any],
    scaler: torch.amp.GradScaler | None = None,
) -> dict[str, Any]:
    """Restore the state of an interrupted run.

    Args:
        path: the file.
        model: the network, built as that of the interrupted run.
        optimizer: its optimizer, without steps.
        method: its method, started.
        generator: source of the masks.
        fingerprint: expected value of ``"fingerprint"`` in the header.
        scaler: the gradient scaler, if there is one.

    Returns:
        The loop's header.

    Raises:
        InputError: the file is damaged, or belongs to other settings or another network.
    """
    tensors, header = read_tensors(path, KIND)
    if header.get("fingerprint") != fingerprint:
        raise InputError(f"{path}: expected a checkpoint of the same settings; they differ (delete it to start again)")
    try:
        model.load_state_dict(_under("model", tensors))
        plain = header.get("plain", {})
        slots: dict[int, dict[str, Any]] = {}
        for name, value in (_under("optimizer", tensors) | _under("optimizer", plain)).items():
            index, slot = name.split(".", 1)
            slots.setdefault(int(index), {})[slot] = value
        optimizer.load_state_dict({"state": slots, "param_groups": optimizer.state_dict()["param_groups"]})
        if scaler is not None:
            scaler.load_state_dict(_under("scaler", plain))
        device = device_of(model)
        method.load_state_dict({name: value.to(device) for name, value in _under("method", tensors).items()})
        generator.set_state(tensors["generator"])
    except (KeyError, RuntimeError, TypeError, ValueError) as error:
        problem = f"{last_line(error)} (delete it to start again)"
        raise InputError(f"{path}: expected a checkpoint of this network; {problem}") from error
    return header


def _under(prefix: str, values: dict[str, Any]) -> dict[str, Any]:
    return {name.removeprefix(prefix + "."): value for name, value in values.items() if name.startswith(prefix + ".")}
