"""What lies in a run's folder.

``config.toml``, while training ``checkpoint.safetensors``, then ``history.json`` and ``weights.safetensors``
(ternary weights at two bits), ``predictions.safetensors`` (Monte Carlo probabilities of the test set and of the
validation part) and last ``result.json``.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from torch import Tensor, nn

from tsnn_uq.checks import InputError
from tsnn_uq.experiments.config import RunConfig
from tsnn_uq.files import read_json, read_tensors, write_tensors
from tsnn_uq.networks import FAMILIES, build
from tsnn_uq.neurons import LIFParameters, SRMParameters, surrogate
from tsnn_uq.quantization.saving import load_weights
from tsnn_uq.seeds import generator_for

__all__ = [
    "Predicted",
    "build_network",
    "is_begun",
    "is_finished",
    "load_network",
    "load_sized_network",
    "read_predictions",
    "recorded",
    "require_same",
    "write_predictions",
]

_PREDICTIONS = "predictions.safetensors"
Predicted = tuple[Tensor, Tensor]
"""Monte Carlo probabilities [S, N, C] and labels [N] of a part of the data."""


def is_begun(folder: Path) -> bool:
    """Whether a run's folder holds work: a checkpoint or more."""
    return any((folder / name).exists() for name in ("checkpoint.safetensors", "weights.safetensors", "result.json"))


def is_finished(folder: Path) -> bool:
    """Whether a run's folder holds its result."""
    return (folder / "result.json").exists()


def require_same(folder: Path, wanted: dict[str, Any], found: dict[str, Any]) -> None:
    """Raise if a folder was made with other settings, naming those that differ."""
    differing = [name for name in wanted if wanted[name] != found[name]]
    if differing:
        ours, theirs = (", ".join(f"{name} = {of[name]!r}" for name in differing) for of in (wanted, found))
        raise InputError(f"{folder}: expected a folder made with {ours}; got one with {theirs}; choose another folder")


def recorded(path: Path, name: str) -> Any:
    """An entry of a run's ``history.json`` or ``result.json``.

    Raises:
        InputError: the file is missing or damaged.
    """
    try:
        return read_json(path)[name]
    except (InputError, KeyError, TypeError) as error:
        what = f"the {path.stem} of a run; it is missing or damaged"
        raise InputError(f"{path}: expected {what}; delete {path.parent} to do the run again") from error


def build_network(config: RunConfig, shape: Sequence[int], classes: int) -> nn.Module:
    """The untrained network of a run for inputs of a `shape` without time, its weights drawn from the run's seed."""
    neuron = LIFParameters(
        decay=config.decay,
        threshold=config.threshold,
        reset=config.reset,
        surrogate=surrogate(config.surrogate, config.sharpness),
    )
    srm = SRMParameters(
        threshold=config.threshold,
        tau_s_ms=config.tau_s,
        tau_r_ms=config.tau_r,
        tau_rho=config.tau_rho,
        step_ms=config.bin_ms,
    )
    offered = {
        "sizes": (math.prod(shape), *config.hidden, classes),
        "shape": tuple(shape),
        "classes": classes,
        "hidden": config.hidden,
        "steps": config.steps,
        "p": config.p,
        "mask": config.mask,
        "coding": config.coding,
        "readout": config.readout,
        "neuron": neuron,
        "srm": srm,
    }
    taken = inspect.signature(FAMILIES[config.family]).parameters
    options = {name: value for name, value in offered.items() if name in taken}
    return build(config.family, generator=generator_for(config.seed, "weights"), **options)


def load_network(folder: Path) -> nn.Module:
    """The trained network of a run folder, in evaluation mode; errors as `load_sized_network`."""
    return load_sized_network(folder)[0]


def load_sized_network(folder: Path) -> tuple[nn.Module, dict[str, Any]]:
    """The trained network of a run folder, and the ``shape`` of an input without time and number of ``classes``.

    Raises:
        InputError: no trained run there, or a damaged file.
    """
    if not (folder / "weights.safetensors").exists():
        raise InputError(f"{folder}: expected the folder of a finished training; got one without weights.safetensors")
    state, header = load_weights(folder / "weights.safetensors")
    config = RunConfig.load(folder / "config.toml")
    try:
        network = build_network(config, **header["size"])
        network.load_state_dict(state)
    except (KeyError, TypeError, RuntimeError) as error:
        raise InputError(f"{folder}: expected weights of the network in config.toml; got others") from error
    return network.eval(), header["size"]


def write_predictions(folder: Path, predictions: Mapping[str, Predicted]) -> None:
    """Keep a run's predictions of its parts ``"test"`` and ``"validation"``."""
    tensors = {
        f"{part}_{name}": tensor
        for part, pair in predictions.items()
        for name, tensor in zip(("probs", "labels"), pair, strict=True)
    }
    write_tensors(folder / _PREDICTIONS, tensors, {"kind": "predictions"})


def read_predictions(folder: Path, part: Literal["test", "validation"] = "test") -> Predicted:
    """Monte Carlo probabilities [S, N, C] of a part of a run's data, and its labels [N].

    Raises:
        InputError: there are none, or the file is damaged.
    """
    tensors, _ = read_tensors(folder / _PREDICTIONS, "predictions")
    try:
        return tensors[f"{part}_probs"], tensors[f"{part}_labels"]
    except KeyError as error:
        what = f"{folder / _PREDICTIONS}: expected predictions of the {part} part; got {', '.join(tensors)}"
        raise InputError(f"{what}; delete {folder} to do the run again") from error
