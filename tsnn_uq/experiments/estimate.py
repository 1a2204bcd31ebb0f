"""Estimate the time of runs from a few real training steps and predictions of each kind."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from torch import nn

from tsnn_uq import data, training
from tsnn_uq.devices import find_device, use_threads
from tsnn_uq.experiments.evaluation import predict
from tsnn_uq.experiments.inputs import load_splits
from tsnn_uq.experiments.run import make_method, make_regularizer
from tsnn_uq.experiments.runner import Task, tasks_left
from tsnn_uq.experiments.settings import Context, Settings
from tsnn_uq.experiments.storage import build_network

__all__ = ["Kind", "describe_estimate", "estimate_run", "estimate_runs", "format_duration"]

STEPS = 3  # steps timed
INPUTS, SAMPLES = 64, 4  # largest number of inputs and samples predicted


class Kind(NamedTuple):
    """Runs that differ only in their seed: one of them, their number, and the seconds that each takes."""

    settings: Settings
    runs: int
    seconds: float


def estimate_runs(tasks: Sequence[Task], context: Context = Context()) -> list[Kind]:
    """Estimate the runs that `do_runs` still has to do, including float runs that others need.

    Each kind of run is timed once, since all seeds take equally long. Interrupted runs count as whole ones.

    Raises:
        InputError: unknown or missing data.
    """
    left = Counter(task.settings.replace(seed=0) for task in tasks_left(tasks))
    kinds = []
    for settings, runs in left.items():
        kinds.append(Kind(settings, runs, estimate_run(settings, context)))
        context.progress("kinds of runs", "time", len(kinds), len(left))  # one task, whose share they add up to
    return kinds


def estimate_run(settings: Settings, context: Context = Context()) -> float:
    """Estimate the seconds for training and evaluation of one run, without loading data and without other load.

    Raises:
        InputError: unknown or missing data.
    """
    splits = load_splits(settings, context.data_dir)
    with use_threads(settings.threads):
        return _train_seconds(settings, splits.train) + _predict_seconds(settings, splits)


def _train_seconds(settings: Settings, train: data.Dataset) -> float:
    inputs = min(len(train), settings.train_limit or len(train))
    batch = min(settings.batch_size, inputs)
    regularizer, weight = make_regularizer(settings)
    few = train.subset(min(STEPS * batch, len(train)))
    for _ in range(2):  # first for warm-up, and to compile kernels, whose choice depends on the sizes
        network, teacher = (_built(settings, train) for _ in range(2))
        history = training.fit(
            network,
            few,
            seed=settings.seed,
            method=make_method(settings, teacher),
            regularizer=regularizer,
            settings=training.FitSettings(epochs=1, batch_size=batch, regularizer_weight=weight),
        )
    return history.seconds / math.ceil(len(few) / batch) * math.ceil(inputs / batch) * settings.epochs


def _predict_seconds(settings: Settings, splits: data.Splits) -> float:
    network = _built(settings, splits.test).eval()
    samples, few = min(SAMPLES, settings.samples), splits.test.subset(min(INPUTS, len(splits.test)))
    for _ in range(2):  # first for warm-up, as above
        started = time.monotonic()
        predict(network, few, samples=samples, seed=settings.seed)
    inputs = len(splits.validation) + len(splits.test)
    return (time.monotonic() - started) * settings.samples / samples * inputs / len(few)


def _built(settings: Settings, part: data.Dataset) -> nn.Module:
    return build_network(settings, part.shape, part.classes, find_device(settings.device))


def format_duration(seconds: float) -> str:
    """Format a duration for people.

    Example:
        >>> format_duration(8), format_duration(140), format_duration(9000)
        ('8 s', '2 min', '2.5 h')
    """
    if seconds < 90:
        return f"{math.ceil(seconds)} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def describe_estimate(kinds: Sequence[Kind], jobs: int) -> str:
    """Describe how many runs are left, and how long they take with `jobs` of them in parallel."""
    runs, seconds = sum(kind.runs for kind in kinds), sum(kind.runs * kind.seconds for kind in kinds)
    side_by_side = max(1, min(jobs, runs))
    words = f"{runs} run{'s' if runs != 1 else ''} to train, about {format_duration(seconds / side_by_side)}"
    return f"{words} with {side_by_side} side by side" if side_by_side > 1 else words
