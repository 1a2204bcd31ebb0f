"""The training stage of a run: first weights, method, loss, and what is written at the end."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from tsnn_uq import data, training
from tsnn_uq.checks import InputError, last_line
from tsnn_uq.experiments.config import RunConfig
from tsnn_uq.experiments.folder import build_network, load_network
from tsnn_uq.experiments.measure import Progress
from tsnn_uq.files import write_json
from tsnn_uq.quantization import select_layers
from tsnn_uq.quantization.saving import save_weights
from tsnn_uq.seeds import generator_for
from tsnn_uq.training.losses import spike_count
from tsnn_uq.uncertainty import set_generator

__all__ = ["make_method", "make_regularizer", "require_first_weights", "train"]


def train(config: RunConfig, runs: Path, splits: data.Splits, checkpoint_seconds: float, progress: Progress) -> None:
    """Train a run's network, or go on with it, and write its history and weights into its folder under `runs`.

    The float run that it needs has to be finished.
    """
    folder = runs / config.name
    part = splits.train.subset(config.train_limit) if config.train_limit else splits.train
    size: dict[str, Any] = {"shape": list(part.shape), "classes": part.classes}
    network = build_network(config, **size)
    _take_first_weights(network, config, runs)
    regularizer, weight = make_regularizer(config)
    teacher = load_network(_teacher_folder(config, runs)) if config.method == "distill" else None
    history = training.fit(
        network,
        (part.images, part.labels),
        seed=config.seed,
        method=make_method(config, teacher),
        regularizer=regularizer,
        settings=training.FitSettings(
            epochs=config.epochs,
            batch_size=config.batch_size,
            learning_rate=config.learning_rate,
            weight_decay=config.weight_decay,
            regularizer_weight=weight,
            regularizer_warm_up=config.regularizer_warm_up,
        ),
        validation=(splits.validation.images, splits.validation.labels),
        checkpoint=folder / "checkpoint.safetensors",
        checkpoint_seconds=checkpoint_seconds,
        fingerprint=asdict(config),
        progress=lambda done, total: progress("train", done, total),
    )
    ternary = [] if config.method == "float" else list(select_layers(network, config.quantized_part))
    write_json(folder / "history.json", asdict(history))
    save_weights(folder / "weights.safetensors", network, ternary=ternary, header={"size": size})


def require_first_weights(config: RunConfig, runs: Path) -> None:
    """Raise unless the runs that a run in the folder `runs` starts from, and learns from, are there and like it.

    Raises:
        InputError: says what was found in their place.
    """
    if config.teacher_from:
        _require_run("teacher", config.teacher_from, config, runs)
    if config.first_weights not in ("own", "float"):
        _require_run("from", config.first_weights, config, runs)


def _require_run(argument: str, given: str, config: RunConfig, runs: Path) -> None:
    folder = _found(given, config)
    if folder.resolve() == (runs / config.name).resolve():
        raise InputError(f"{argument}: expected another folder than that of the run itself; got {folder}")
    if not (folder / "weights.safetensors").exists():
        wanted = f"the folder of a finished training or one that has {config.teacher().name} in it"
        wanted = f"own, float, {wanted}" if argument == "from" else wanted
        raise InputError(f"{argument}: expected {wanted}; got {given!r}")
    source = RunConfig.load(folder / "config.toml")
    for name in ("family", "hidden"):
        ours, theirs = getattr(config, name), getattr(source, name)
        if ours != theirs:
            raise InputError(f"{argument}: expected a run with {name} = {ours!r}; got {theirs!r} in {folder}")


def _found(given: str, config: RunConfig) -> Path:
    """The folder of a run, or, in a folder of runs, that of the float one with the same family and seed."""
    folder = Path(given).expanduser()
    return folder if (folder / "config.toml").exists() else folder / config.teacher().name


def _teacher_folder(config: RunConfig, runs: Path) -> Path:
    return _found(config.teacher_from, config) if config.teacher_from else runs / config.teacher().name


def _take_first_weights(network: nn.Module, config: RunConfig, runs: Path) -> None:
    if config.first_weights == "own":
        return
    own_teacher = config.first_weights == "float"
    folder = _teacher_folder(config, runs) if own_teacher else _found(config.first_weights, config)
    try:
        network.load_state_dict(load_network(folder).state_dict())
    except RuntimeError as error:
        wanted = f"a run with a network like this one; got {folder}: {last_line(error)}"
        raise InputError(f"from: expected {wanted}") from error


def make_regularizer(config: RunConfig) -> tuple[training.Regularizer, float]:
    """The uncertainty term and its weight, 1 where its text has weights; a float network has no quantization gap."""
    without = ("quantization-gap",) if config.method == "float" else ()
    regularizer = training.make_regularizer(config.regularizer, without=without)
    return regularizer, 0.0 if type(regularizer) is training.Regularizer else config.regularizer_weight or 1.0


def make_method(config: RunConfig, teacher: nn.Module | None = None) -> training.Method:
    """The training method of a run, with its loss; the method ``"distill"`` needs its teacher's network."""
    method = _quantizing_method(config, teacher)
    if config.loss == "spike-count":
        method.criterion = partial(spike_count, wanted=(config.wanted_counts[0], config.wanted_counts[1]))
    return method


def _quantizing_method(config: RunConfig, teacher: nn.Module | None) -> training.Method:
    if config.method == "float":
        return training.Float()
    options: dict[str, Any] = {"layers": config.quantized_part, "rule": config.rule, "scale": config.scale}
    options |= config.rule_options()
    if config.method == "direct":
        return training.Direct(**options)
    options |= {"start": config.start, "end": config.end}
    if config.method == "indirect":
        return training.Indirect(**options)
    if teacher is None:
        raise InputError("teacher: expected the network of a float run for method distill; got none")
    set_generator(teacher, generator_for(config.seed, "teacher"))  # a random input coding needs one
    return training.Distill(teacher, temperature=config.temperature, weight=config.distill_weight, **options)
