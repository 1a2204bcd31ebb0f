"""How long runs will take, told by a few steps of each before any is begun."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from tsnn_uq import data, training
from tsnn_uq.data import Extent
from tsnn_uq.experiments.config import RunConfig
from tsnn_uq.experiments.folder import build_network, is_finished
from tsnn_uq.experiments.run import use_threads
from tsnn_uq.experiments.sweep import waves
from tsnn_uq.experiments.train import make_method, make_regularizer
from tsnn_uq.seeds import generator_for
from tsnn_uq.uncertainty import mc_predict

__all__ = ["Estimate", "announced", "estimate_run", "estimate_runs", "in_words"]

STEPS = 3  # timed, after one that warms up and compiles
EVENTS_SHARE = 1 / 64  # about what a recording of N-MNIST has: events of 2,312 places in a millisecond


class Estimate(NamedTuple):
    """How many runs there are to do, and how many seconds one core needs for all of them."""

    runs: int
    seconds: float


def estimate_runs(configs: Sequence[RunConfig], runs: Path, *, data_dir: Path | None = None) -> Estimate:
    """What `sweep` has still to do, the float runs that others need among them.

    Each kind of run is timed once, seeds being alike; a run that was begun counts as a whole one.

    Args:
        configs: the runs.
        runs: where run folders lie; finished ones cost nothing.
        data_dir: where the data lie.

    Raises:
        InputError: unknown or missing data.
    """
    wanted = [config for wave in waves(configs) for config in wave if not is_finished(runs / config.name)]
    kinds = {replace(config, seed=0): 0.0 for config in wanted}
    for kind in kinds:
        kinds[kind] = estimate_run(kind, data_dir=data_dir)
    return Estimate(len(wanted), sum(kinds[replace(config, seed=0)] for config in wanted))


def estimate_run(config: RunConfig, *, data_dir: Path | None = None) -> float:
    """Seconds that one run's training and evaluation take, by a few steps on inputs of nothing but noise.

    Loading the data and what other work the machine has are not in it.

    Raises:
        InputError: unknown or missing data.
    """
    extent = data.extent(config.data, data_dir)
    with use_threads(config.threads):
        return _train_seconds(config, extent) + _predict_seconds(config, extent)


def _train_seconds(config: RunConfig, extent: Extent) -> float:
    inputs = extent.train
    if config.folds:  # one tests and one validates
        inputs = extent.inputs * (config.folds - 2) // config.folds
    inputs = min(inputs, config.train_limit or inputs)
    batch = min(config.batch_size, inputs)
    regularizer, weight = make_regularizer(config)
    settings = training.FitSettings(epochs=1, batch_size=batch, regularizer_weight=weight)
    for steps in (1, STEPS):
        images, labels = _noise(config, extent, steps * batch)
        network = build_network(config, extent.shape, extent.classes)
        teacher = build_network(config, extent.shape, extent.classes) if config.method == "distill" else None
        history = training.fit(
            network,
            (images, labels),
            seed=config.seed,
            method=make_method(config, teacher),
            regularizer=regularizer,
            settings=settings,
        )
    return history.seconds / STEPS * math.ceil(inputs / batch) * config.epochs


def _predict_seconds(config: RunConfig, extent: Extent) -> float:
    images, _ = _noise(config, extent, min(64, extent.test))
    network = build_network(config, extent.shape, extent.classes).eval()
    samples = min(4, config.samples)
    for part in (images[:1], images):  # one warms up and compiles
        started = time.monotonic()
        mc_predict(network, part, samples=samples, generator=generator_for(config.seed, "estimate"))
    inputs = 2 * extent.inputs // config.folds if config.folds else extent.validation + extent.test
    return (time.monotonic() - started) * config.samples / samples * inputs / len(images)


def _noise(config: RunConfig, extent: Extent, count: int) -> tuple[Tensor, Tensor]:
    """Inputs of a data set's shape, and labels."""
    generator = generator_for(config.seed, "estimate")
    labels = torch.randint(extent.classes, (count,), generator=generator)
    if config.coding == "events":
        return _events(config.steps, math.prod(extent.shape), count, generator), labels
    return torch.rand(count, *extent.shape, generator=generator), labels


def _events(steps: int, places: int, count: int, generator: Generator) -> Tensor:
    """Packed bits [N, T, bytes], of which as few are set as a recording has events."""
    shape = (count, steps, -(-places // 8))
    bits = torch.full(shape, 255, dtype=torch.uint8)
    for _ in range(round(-math.log2(EVENTS_SHARE))):  # each halves the share of set bits
        bits &= torch.randint(256, shape, dtype=torch.uint8, generator=generator)
    return bits


def in_words(seconds: float) -> str:
    """A length of time as one says it.

    Example:
        >>> in_words(8), in_words(140), in_words(9000)
        ('8 s', '2 min', '2.5 h')
    """
    if seconds < 90:
        return f"{math.ceil(seconds)} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def announced(left: Estimate, jobs: int) -> str:
    """What is to be done, and how long it takes with so many runs side by side.

    Example:
        >>> announced(Estimate(48, 40_000.0), jobs=2), announced(Estimate(1, 50.0), jobs=2)
        ('48 runs to train, about 5.6 h with 2 side by side', '1 run to train, about 50 s')
    """
    plural = "s" if left.runs != 1 else ""
    side_by_side = max(1, min(jobs, left.runs))
    words = f"{left.runs} run{plural} to train, about {in_words(left.seconds / side_by_side)}"
    return f"{words} with {side_by_side} side by side" if side_by_side > 1 else words
