"""One run: train a network, save it, measure how sure it is; a stage that finds its file does not do its work again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tsnn_uq import data, training
from tsnn_uq.checks import InputError
from tsnn_uq.cost import LayerCount, cost, count_layers
from tsnn_uq.experiments.config import RunConfig
from tsnn_uq.experiments.folder import (
    Predicted,
    build_network,
    is_begun,
    is_finished,
    load_network,
    recorded,
    require_same,
    write_predictions,
)
from tsnn_uq.experiments.inputs import load_splits
from tsnn_uq.experiments.locks import lock_path, locked
from tsnn_uq.experiments.measure import Progress, after_temperature, evaluate, predict, silent
from tsnn_uq.experiments.train import require_first_weights, train
from tsnn_uq.files import remove_leftovers, write_json
from tsnn_uq.pages import keep_pages
from tsnn_uq.quantization import PARTS
from tsnn_uq.seeds import generator_for
from tsnn_uq.uncertainty import set_generator

__all__ = ["require_feasible", "run", "use_threads"]


def run(
    config: RunConfig,
    runs: Path,
    *,
    data_dir: Path | None = None,
    checkpoint_seconds: float = 20.0,
    wait: bool = True,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Train and evaluate one network in its folder under `runs`, or finish what an interrupted call began.

    While it does, it holds the run's lock, so that no other process does the same.

    Args:
        config: the run.
        runs: where run folders lie; a run that needs the float one looks for it there, and trains it if need be.
        data_dir: where the data lie; see `tsnn_uq.data.load`.
        checkpoint_seconds: least time between two checkpoints.
        wait: whether to wait while another process does this run, and then read what it did.
        progress: told what is done.

    Returns:
        The run's row of the results table.

    Raises:
        InputError: missing data, a folder of another run, a loss that is not finite.
        UnderWay: another process does this run, and `wait` is not set.
    """
    folder = runs / config.name
    require_feasible(config, runs)
    if not is_finished(folder):
        with locked(lock_path(folder), wait=wait), use_threads(config.threads), keep_pages():
            if not is_finished(folder):  # nor by the process that was waited for
                _do(config, runs, data_dir, checkpoint_seconds, progress)
    return recorded(folder / "result.json", "row")


def _do(config: RunConfig, runs: Path, data_dir: Path | None, checkpoint_seconds: float, progress: Progress) -> None:
    """Do the stages of a run that are not done."""
    folder = runs / config.name
    splits = load_splits(config, data_dir)
    remove_leftovers(folder)
    config.save(folder / "config.toml")
    if not (folder / "weights.safetensors").exists():
        if config.needs_float:
            options: dict[str, Any] = {"data_dir": data_dir, "checkpoint_seconds": checkpoint_seconds}
            run(config.teacher(), runs, progress=progress, **options)
        train(config, runs, splits, checkpoint_seconds, progress)
    (folder / "checkpoint.safetensors").unlink(missing_ok=True)
    _evaluate(config, folder, splits, progress)


def require_feasible(config: RunConfig, runs: Path) -> None:
    """Raise now what would stop a run later.

    Raises:
        InputError: its folder holds the work of a run with other settings, its network has no layers of the quantized
            part, or it is to start from a run that is not there or has another network.
    """
    folder = runs / config.name
    require_first_weights(config, runs)
    if is_begun(folder):
        require_same(folder, asdict(config), asdict(RunConfig.load(folder / "config.toml")))
    if config.method != "float":
        side = 2 ** len(config.hidden)  # large enough for any pooling
        small = build_network(replace(config, hidden=(1,) * len(config.hidden)), shape=(1, side, side), classes=1)
        if not any(PARTS[config.quantized_part](name, module) for name, module in small.named_modules()):
            problem = f"the family {config.family} has none"
            raise InputError(f"quantized_part: expected layers of the kind {config.quantized_part!r}; {problem}")


def _evaluate(config: RunConfig, folder: Path, splits: data.Splits, progress: Progress) -> None:
    """Measure the saved network, the very one a user loads, and write predictions and row."""
    network = load_network(folder)
    validation_accuracy = recorded(folder / "history.json", "validation_accuracy")
    predictions = _predict_held_out(network, config, splits, progress)
    write_predictions(folder, predictions)
    set_generator(network, generator_for(config.seed, "evaluate"))  # a random input coding needs one
    layers = count_layers(network, splits.test.images[:1])
    price = cost(layers, steps=config.steps)
    row = {
        "dataset": config.data,
        "family": config.family,
        "configuration": configuration(layers),
        "quantized_part": config.quantized_part,
        "method": config.method,
        "seed": config.seed,
        **evaluate(*predictions["test"], config.bins),
        "point_accuracy": training.accuracy(network, splits.test.images, splits.test.labels),
        "validation_accuracy": validation_accuracy[-1],
        "sparsity": price.sparsity,
        "storage_bytes": price.storage_bytes,
        "flops": price.flops,
        "energy_pj": price.energy_pj,
        "train_seconds": recorded(folder / "history.json", "seconds"),
        "epochs": config.epochs,
        "steps": config.steps,
        "samples": config.samples,
        "mask": config.mask,
        "regularizer": config.regularizer,
        **after_temperature(predictions["validation"], *predictions["test"], config.bins),
    }
    if config.skip_bad:
        parts = (splits.train, splits.validation, splits.test)
        row["skipped"] = len({problem for part in parts for problem in getattr(part, "skipped", ())})
    write_json(folder / "result.json", {"row": row})


def _predict_held_out(
    network: nn.Module, config: RunConfig, splits: data.Splits, progress: Progress
) -> dict[str, Predicted]:
    """Predictions of the two parts that a network is not trained on, told of as one."""
    predictions: dict[str, Predicted] = {}
    parts = {"validation": splits.validation, "test": splits.test}
    before, total = 0, sum(map(len, parts.values()))
    for name, part in parts.items():
        told = partial(lambda before, stage, done, _: progress(stage, before + done, total), before)
        probs = predict(network, part, samples=config.samples, seed=config.seed, progress=told)
        predictions[name] = probs, part.labels
        before += len(part)
    return predictions


def configuration(layers: Sequence[LayerCount]) -> str:
    """Which layers a network has, as the paper's table says it: ``"FC"``, or such as ``"2Conv+2FC"``."""
    convolutions, full = (sum(layer.kind == kind for layer in layers) for kind in ("conv", "fc"))
    return f"{convolutions}Conv+{full}FC" if convolutions else "FC"


@contextmanager
def use_threads(count: int) -> Iterator[None]:
    """Run torch on `count` threads, and put the number back afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
