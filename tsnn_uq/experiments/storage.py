"""Read and write the files in a run's folder, and check that they belong to the run.

The files are ``config.toml``; during training ``checkpoint.safetensors``; then ``weights.safetensors`` (ternary weights
at two bits, and the training history) with a readable ``history.json``; ``predictions.safetensors`` (Monte Carlo
probabilities of the test set and of the validation part); and at the end ``result.json``. Each file has the fingerprint
of the settings of its run, so that files of different runs cannot be confused. Only `load_network` needs the code of
components.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from tsnn_uq import __version__
from tsnn_uq.batches import device_of
from tsnn_uq.checks import InputError, check_choice
from tsnn_uq.devices import find_device
from tsnn_uq.experiments.settings import Settings, read_run, run_name
from tsnn_uq.files import as_path, read_json, read_tensors, read_tensors_header, read_toml, write_json, write_tensors
from tsnn_uq.networks import drawn_from
from tsnn_uq.quantization.weight_files import load_weights
from tsnn_uq.seeds import generator_for
from tsnn_uq.uncertainty import set_generator

__all__ = [
    "Predicted",
    "build_network",
    "find_run",
    "fingerprint",
    "is_begun",
    "is_finished",
    "load_network",
    "load_run",
    "pretrained_folder",
    "pretrained_names",
    "read_config",
    "read_predictions",
    "read_row",
    "require_same",
    "require_same_run",
    "require_same_version",
    "seed_network",
    "stage_done",
    "write_predictions",
    "write_row",
]

CHECKPOINT, WEIGHTS = "checkpoint.safetensors", "weights.safetensors"
HISTORY, PREDICTIONS, RESULT = "history.json", "predictions.safetensors", "result.json"
STAGES = (WEIGHTS, HISTORY, PREDICTIONS, RESULT)
VARIABLE = "TSNN_UQ_NETWORKS"
INDEX = Path(__file__).with_name("pretrained.toml")
CHECKOUT = Path(__file__).parents[2] / "paper" / "networks"
Predicted = tuple[Tensor, Tensor]
"""Monte Carlo probabilities [S, N, C] and labels [N] of a part of the data."""


def fingerprint(config: Mapping[str, Any]) -> str:
    """A hash of the settings of a run, which identifies its files."""
    plain = {"device": "cpu"}  # files of older versions have no device
    text = json.dumps({n: v for n, v in config.items() if v is not None and v != plain.get(n)}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


class _Unreadable(InputError):
    """A file of settings is missing or damaged."""


def read_config(folder: Path) -> dict[str, Any]:
    """Read the settings in a run's folder by dotted names; see `Settings.flat`. Components need not be imported.

    Raises:
        InputError: settings are missing or incomplete, or belong to a run with another name than the folder.
    """
    path = folder / "config.toml"
    try:
        config = read_run(path)
    except InputError as error:
        raise _Unreadable(str(error)) from error
    needed = {name for name, field in Settings.model_fields.items() if field.default is not None}
    for name in needed - config.keys():
        raise _Unreadable(f"{path}: expected all settings of a run; it lacks {name}, so it is damaged")
    part = config.get("method.layers", "none")
    name = run_name(config["network"], part, config["method"], config["seed"])
    if name != folder.name:
        raise InputError(
            f"{path}: expected settings of {folder.name}; got those of {name}; put it back into its folder"
        )
    return config


def require_same(folder: Path, wanted: Mapping[str, Any], found: Mapping[str, Any]) -> None:
    """Raise if a folder was made with other settings, naming those that differ."""

    def plain(value: Any) -> Any:
        return list(value) if isinstance(value, tuple) else value

    names = [name for name in {**wanted, **found} if plain(wanted.get(name)) != plain(found.get(name))]
    if names:
        ours, theirs = (", ".join(f"{name} = {plain(of.get(name))!r}" for name in names) for of in (wanted, found))
        raise InputError(f"{folder}: expected a folder made with {ours}; got one with {theirs}; choose another folder")


def require_same_version(folder: Path, found: str) -> None:
    """Raise if another version of this package began what is unfinished in a folder: results would be of neither.

    Args:
        folder: the folder.
        found: the version in its settings; empty before 0.2.0.
    """
    if found != __version__:
        remedy = "finish it with that version, or delete the folder to start again"
        raise InputError(
            f"{folder}: expected to resume what version {__version__} began; got {found or 'an older one'}; {remedy}"
        )


def is_begun(folder: Path) -> bool:
    """Whether a run's folder has a checkpoint or later files."""
    return any((folder / name).exists() for name in (CHECKPOINT, WEIGHTS, RESULT))


def is_finished(folder: Path, config: Mapping[str, Any] | None = None) -> bool:
    """Whether all stages of a run are done, with undamaged files.

    Args:
        folder: folder of the run.
        config: settings of the run by dotted names; by default those in the folder.

    Raises:
        InputError: a file belongs to another run.
    """
    if not (folder / RESULT).exists():
        return False
    try:
        found = read_config(folder)
    except _Unreadable:
        if config is None:
            raise
        return False
    if config is not None:
        require_same(folder, config, found)
    return all(stage_done(folder / name, found) for name in STAGES)


def stage_done(path: Path, config: Mapping[str, Any]) -> bool:
    """Whether the file of a stage exists and is complete.

    Raises:
        InputError: it belongs to another run.
    """
    owner = None
    with suppress(AttributeError, InputError, KeyError, TypeError):
        if path.suffix == ".json":
            content = read_json(path)
            owner = content["run"] if len(content) > 1 else None
        else:
            owner = read_tensors_header(path, path.stem)["run"]
    if owner not in (None, fingerprint(config)):
        wanted = f"a file of {path.parent.name} with the settings of {path.with_name('config.toml')}"
        raise InputError(f"{path}: expected {wanted}; got that of another run; put it back, or delete it")
    return owner is not None


def require_same_run(folder: Path, config: Mapping[str, Any]) -> None:
    """Raise if a folder has results of a run with other settings, or an unfinished run of another version."""
    if not is_begun(folder):
        return
    try:
        require_same(folder, config, read_config(folder))
        version = read_toml(folder / "config.toml").get("version", "")
    except _Unreadable:  # it will be overwritten
        version = __version__
    if not all([stage_done(folder / name, config) for name in STAGES]):
        require_same_version(folder, version)


def write_row(folder: Path, row: Mapping[str, Any], config: Mapping[str, Any]) -> None:
    """Write the row of a run in the results table, which completes the run."""
    write_json(folder / RESULT, {"run": fingerprint(config), "row": dict(row)})


def read_row(folder: Path) -> dict[str, Any]:
    """Read the row of a finished run in the results table.

    Raises:
        InputError: it is missing, damaged, or belongs to another run.
    """
    if not stage_done(folder / RESULT, read_config(folder)):
        remedy = "repeat the command that made it to redo what is missing"
        raise InputError(f"{folder / RESULT}: expected the result of a run; it is missing or damaged; {remedy}")
    return read_json(folder / RESULT)["row"]


def write_predictions(folder: Path, predictions: Mapping[str, Predicted], config: Mapping[str, Any]) -> None:
    """Write a run's predictions of its parts ``"test"`` and ``"validation"``."""
    tensors = {
        f"{part}_{name}": tensor
        for part, pair in predictions.items()
        for name, tensor in zip(("probs", "labels"), pair, strict=True)
    }
    write_tensors(folder / PREDICTIONS, tensors, {"kind": "predictions", "run": fingerprint(config)})


def read_predictions(folder: str | Path, part: Literal["test", "validation"] = "test") -> Predicted:
    """Read Monte Carlo probabilities [S, N, C] and labels [N] of a part of a run's data.

    Raises:
        InputError: the file is missing, damaged, or belongs to another run.
    """
    folder = as_path(folder)
    path = folder / PREDICTIONS
    tensors, _ = read_tensors(path, "predictions")
    stage_done(path, read_config(folder))
    try:
        return tensors[f"{part}_probs"], tensors[f"{part}_labels"]
    except KeyError as error:
        raise InputError(f"{path}: expected predictions of the {part} part; got {', '.join(tensors)}") from error


def build_network(
    settings: Settings, shape: tuple[int, ...], classes: int, device: torch.device | None = None
) -> nn.Module:
    """Build the untrained network of a run, with weights drawn from the run's seed, equal on all devices.

    Args:
        settings: settings of the run.
        shape: shape of an input, without time.
        classes: number of classes.
        device: device of the network; by default the one on which its code creates it.

    Raises:
        InputError: the network's component raises an error, or does not return a module.
    """
    with drawn_from(generator_for(settings.seed, "weights")):
        neuron = settings.make("neuron")
        network = settings.make("network", shape=tuple(shape), classes=classes, neuron=neuron)
    if not isinstance(network, nn.Module):
        raise InputError(f"network: expected a torch.nn.Module from {settings.family}; got {type(network).__name__}")
    return network if device is None else network.to(device)


def seed_network(network: nn.Module, seed: int, purpose: str) -> None:
    """Give each random module of a network, such as an input coding, its own generator."""
    set_generator(network, generator_for(seed, purpose, device=device_of(network)))


def load_network(folder: str | Path, device: str = "cpu") -> nn.Module:
    """Load the trained network of a run folder, in evaluation mode; arguments and errors as for `load_run`."""
    return load_run(folder, device)[0]


def load_run(folder: str | Path, device: str = "cpu") -> tuple[nn.Module, Settings, dict[str, Any]]:
    """Load the trained network of a run, with its settings, the shape of an input and the number of classes.

    Args:
        folder: folder of the run.
        device: device of the network; empty for the one it was trained on.

    Returns:
        The network, the settings, and ``shape`` (of an input without time) and ``classes``.

    Raises:
        InputError: the folder has no trained run, a file is damaged or belongs to another run, or the code of the
            network was not imported in this process; see `tsnn_uq.components`.
    """
    folder = as_path(folder)
    if not (folder / WEIGHTS).exists():
        raise InputError(f"{folder}: expected the folder of a finished training; got one without {WEIGHTS}")
    state, header = load_weights(folder / WEIGHTS)
    stage_done(folder / WEIGHTS, read_config(folder))
    settings = Settings.load(folder / "config.toml")
    try:
        network = build_network(settings, **header["size"], device=find_device(device or settings.device))
        network.load_state_dict(state)
    except (KeyError, TypeError, RuntimeError) as error:
        raise InputError(f"{folder}: expected weights of the network in config.toml; got others") from error
    return network.eval(), settings, header["size"]


def pretrained_names() -> list[str]:
    """Names of the shipped networks."""
    return list(read_toml(INDEX))


def find_run(given: Path) -> Path:
    """The folder of a run, or the folder of the shipped network with this name."""
    return pretrained_folder(str(given)) if not given.exists() and str(given) in pretrained_names() else given


def pretrained_folder(name: str) -> Path:
    """The run folder of a shipped network, after verification of its files.

    The network is looked up in the folder given by the environment variable TSNN_UQ_NETWORKS, or by default in
    ``paper/networks`` of this checkout.

    Args:
        name: one of `pretrained_names`.

    Raises:
        InputError: the name is unknown, or a file is missing or differs from the shipped one.
    """
    entry = read_toml(INDEX)[check_choice("name", name, pretrained_names())]
    folder = Path(os.environ.get(VARIABLE) or CHECKOUT) / entry["folder"]
    for file, sha256 in entry["sha256"].items():
        path = folder / file
        if not path.exists():
            remedy = f"copy paper/networks from the sources of tsnn_uq and set {VARIABLE} to that folder"
            raise InputError(f"{name}: expected {path}; it is missing ({remedy})")
        if hashlib.sha256(path.read_bytes()).hexdigest() != sha256:
            raise InputError(f"{path}: expected the shipped file of SHA-256 {sha256}; got another (copy it again)")
    return folder
