"""One run: train a network, save it, measure how sure it is.

A run folder holds ``config.toml``, while training ``checkpoint.safetensors``, then ``history.json`` and
``weights.safetensors`` (ternary weights at two bits), ``predictions.safetensors`` (Monte Carlo
probabilities of the test set) and last ``result.json``. A stage that finds its file does not do its work again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tsnn_uq import data, training
from tsnn_uq.checks import InputError
from tsnn_uq.cost import cost, count_layers
from tsnn_uq.experiments.config import RunConfig
from tsnn_uq.files import read_json, read_tensors, write_json, write_tensors
from tsnn_uq.metrics import functional as metrics
from tsnn_uq.networks import build
from tsnn_uq.neurons import LIFParameters, surrogate
from tsnn_uq.quantization import select_layers
from tsnn_uq.quantization.saving import load_weights, save_weights
from tsnn_uq.seeds import generator_for
from tsnn_uq.training.regularizers import make_regularizer
from tsnn_uq.uncertainty import mc_predict

__all__ = [
    "Progress",
    "build_network",
    "evaluate",
    "load_network",
    "predict",
    "read_predictions",
    "run",
    "uncertainty",
]

Progress = Callable[[str, int, int], object]
"""Called with what is being done ("train" or "predict"), units done, units in all."""


def _silent(stage: str, done: int, total: int) -> None:
    """Progress that nobody watches."""


def build_network(config: RunConfig, pixels: int, classes: int) -> nn.Module:
    """The untrained network of a run for images of so many pixels, its weights drawn from the run's seed."""
    neuron = LIFParameters(
        decay=config.decay,
        threshold=config.threshold,
        reset=config.reset,
        surrogate=surrogate(config.surrogate, config.sharpness),
    )
    return build(
        config.family,
        generator=generator_for(config.seed, "weights"),
        sizes=(pixels, *config.hidden, classes),
        steps=config.steps,
        p=config.p,
        mask=config.mask,
        coding=config.coding,
        readout=config.readout,
        neuron=neuron,
    )


def run(config: RunConfig, runs: Path, *, data_dir: Path | None = None, progress: Progress = _silent) -> dict[str, Any]:
    """Train and evaluate one network in its folder under `runs`, or finish what an interrupted call began.

    Args:
        config: the run.
        runs: where run folders lie; a distilled run looks for its teacher there, and trains it if need be.
        data_dir: where the data lie; see `tsnn_uq.data.load`.
        progress: told what is done.

    Returns:
        The run's row of the results table.

    Raises:
        InputError: missing data, a folder of another run, a loss that is not finite.
    """
    folder = runs / config.name
    _claim(folder, config)
    with _threads(config.threads):
        splits = data.load(config.data, data_dir, seed=config.seed)
        if not (folder / "weights.safetensors").exists():
            _train(config, runs, splits, data_dir, progress)
        if not (folder / "result.json").exists():
            _evaluate(config, folder, splits, progress)
    return read_json(folder / "result.json")["row"]


def _claim(folder: Path, config: RunConfig) -> None:
    """Write the configuration, or raise if the folder belongs to a run with another one."""
    path = folder / "config.toml"
    if path.exists():
        other = asdict(RunConfig.load(path))
        changed = [name for name, value in asdict(config).items() if other[name] != value]
        if changed:
            wanted = ", ".join(f"{name} = {getattr(config, name)!r}" for name in changed)
            found = ", ".join(f"{name} = {other[name]!r}" for name in changed)
            raise InputError(f"{folder}: expected a run with {wanted}; got one with {found}; choose another folder")
    else:
        config.save(path)


def _train(config: RunConfig, runs: Path, splits: data.Splits, data_dir: Path | None, progress: Progress) -> None:
    folder = runs / config.name
    checkpoint = folder / "checkpoint.safetensors"
    train = splits.train.subset(config.train_limit) if config.train_limit else splits.train
    size = {"pixels": train.images[0].numel(), "classes": train.classes}
    network = build_network(config, **size)
    history = training.fit(
        network,
        (train.images, train.labels),
        seed=config.seed,
        method=_method(config, runs, data_dir, progress),
        regularizer=make_regularizer(config.regularizer),
        settings=training.FitSettings(
            epochs=config.epochs,
            batch_size=config.batch_size,
            learning_rate=config.learning_rate,
            weight_decay=config.weight_decay,
            regularizer_weight=config.regularizer_weight,
        ),
        validation=(splits.validation.images, splits.validation.labels),
        checkpoint=checkpoint,
        fingerprint=asdict(config) | {"hidden": list(config.hidden)},
        progress=lambda done, total: progress("train", done, total),
    )
    ternary = [] if config.method == "float" else list(select_layers(network, config.quantized_part))
    write_json(folder / "history.json", asdict(history))
    save_weights(folder / "weights.safetensors", network, ternary=ternary, header={"size": size})
    checkpoint.unlink(missing_ok=True)


def _method(config: RunConfig, runs: Path, data_dir: Path | None, progress: Progress) -> training.Method:
    if config.method == "float":
        return training.Float()
    options: dict[str, Any] = {"layers": config.quantized_part, "rule": config.rule, "scale": config.scale}
    options |= config.rule_options()
    if config.method == "direct":
        return training.Direct(**options)
    options |= {"start": config.start, "end": config.end}
    if config.method == "indirect":
        return training.Indirect(**options)
    teacher = config.teacher()
    run(teacher, runs, data_dir=data_dir, progress=progress)
    return training.Distill(
        load_network(runs / teacher.name),
        temperature=config.temperature,
        weight=config.distill_weight,
        **options,
    )


def load_network(folder: Path) -> nn.Module:
    """The trained network of a run folder, in evaluation mode.

    Raises:
        InputError: no trained run there, or a damaged file.
    """
    if not (folder / "weights.safetensors").exists():
        raise InputError(f"{folder}: expected the folder of a finished training; got one without weights.safetensors")
    state, header = load_weights(folder / "weights.safetensors")
    network = build_network(RunConfig.load(folder / "config.toml"), **header["size"])
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise InputError(f"{folder}: expected weights of the network in config.toml; got others") from error
    return network.eval()


def _evaluate(config: RunConfig, folder: Path, splits: data.Splits, progress: Progress) -> None:
    """Measure the saved network, the very one a user loads, and write predictions and row."""
    network, history = load_network(folder), read_json(folder / "history.json")
    probs = predict(network, splits.test, samples=config.samples, seed=config.seed, progress=progress)
    price = cost(count_layers(network, splits.test.images[:1]), steps=config.steps)
    row = {
        "dataset": config.data,
        "family": config.family,
        "quantized_part": config.quantized_part,
        "method": config.method,
        "seed": config.seed,
        **evaluate(probs, splits.test.labels, config.bins),
        "point_accuracy": training.accuracy(network, splits.test.images, splits.test.labels),
        "validation_accuracy": history["validation_accuracy"][-1],
        "sparsity": price.sparsity,
        "storage_bytes": price.storage_bytes,
        "flops": price.flops,
        "energy_pj": price.energy_pj,
        "train_seconds": history["seconds"],
        "epochs": config.epochs,
        "steps": config.steps,
        "samples": config.samples,
        "mask": config.mask,
        "regularizer": config.regularizer,
    }
    tensors = {"probs": probs, "labels": splits.test.labels}
    write_tensors(folder / "predictions.safetensors", tensors, {"kind": "predictions"})
    write_json(folder / "result.json", {"row": row})


def read_predictions(folder: Path) -> tuple[Tensor, Tensor]:
    """Monte Carlo probabilities [S, N, C] of a run's test set, and its labels [N]."""
    tensors, _ = read_tensors(folder / "predictions.safetensors", "predictions")
    return tensors["probs"], tensors["labels"]


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """Run torch on `count` threads, and put the number back afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def predict(
    network: nn.Module, dataset: data.Dataset, *, samples: int, seed: int, progress: Progress = _silent
) -> Tensor:
    """Monte Carlo probabilities [S, N, C] of a data set; the same seed gives the same draws."""
    total = len(dataset)
    return mc_predict(
        network,
        dataset.images,
        samples=samples,
        generator=generator_for(seed, "predict", dataset.name),
        progress=lambda done: progress("predict", done, total),
    )


def evaluate(probs: Tensor, labels: Tensor, bins: int = 15) -> dict[str, float]:
    """The uncertainty of Monte Carlo predictions.

    Args:
        probs: [S, N, C].
        labels: [N].
        bins: bins of the calibration error.

    Returns:
        Accuracy, negative log-likelihood (nats), Brier score and expected calibration error of the mean
        prediction; predictive and expected entropy and mutual information (nats), normalized entropy,
        predictive variance and standard deviation, each the mean over inputs.
    """
    mean = probs.mean(0)
    return {
        "accuracy": float((mean.argmax(-1) == labels).double().mean()),
        "nll": float(metrics.negative_log_likelihood(mean, labels)),
        "brier": float(metrics.brier_score(mean, labels)),
        "ece": float(metrics.expected_calibration_error(mean, labels, bins=bins)),
        **uncertainty(probs),
    }


def uncertainty(probs: Tensor) -> dict[str, float]:
    """The part of `evaluate` that needs no labels."""
    return {
        "predictive_entropy": float(metrics.predictive_entropy(probs)),
        "normalized_entropy": float(metrics.predictive_entropy(probs, normalize=True)),
        "expected_entropy": float(metrics.expected_entropy(probs)),
        "mutual_information": float(metrics.mutual_information(probs)),
        "predictive_variance": float(metrics.predictive_variance(probs)),
        "predictive_std": float(metrics.predictive_std(probs)),
    }
