"""The data of a run: a data set as its settings want it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tsnn_uq import data
from tsnn_uq.experiments.config import RunConfig

__all__ = ["is_kindred", "load_splits", "load_test"]


def load_splits(config: RunConfig, data_dir: Path | None = None) -> data.Splits:
    """Training, validation and test part of a run's data; errors as in `tsnn_uq.data.load`."""
    binning = _binning(config, config.data)
    if config.folds:
        return data.load_fold(config.data, data_dir, folds=config.folds, seed=config.seed, **binning)
    return data.load(config.data, data_dir, seed=config.seed, **binning)


def load_test(config: RunConfig, name: str, data_dir: Path | None = None, *, seed: int = 0) -> data.Dataset:
    """The test part of a data set, with events binned as the run has them; errors as in `tsnn_uq.data.load_test`.

    Of real recordings it is all of them for a run on simulated ones, which has not seen their images. Most of those
    simulated show images that a run on real ones knows, so there it is their test part alone.
    """
    if (config.data, name) == ("nmnist-simulated", "nmnist"):
        return data.load_all(name, data_dir, **_binning(config, name))
    if config.folds and name.partition(":")[0] == config.data:
        return load_splits(config, data_dir).test
    return data.load_test(name, data_dir, seed=seed, **_binning(config, name))


def is_kindred(one: str, other: str) -> bool:
    """Whether two data sets are different recordings of the same classes."""
    return one != other and one in data.EVENT_SETS and other in data.EVENT_SETS


def _binning(config: RunConfig, name: str) -> dict[str, Any]:
    base = name.partition(":")[0]
    if base not in data.EVENT_SETS:
        return {}
    skipping = {"skip_bad": config.skip_bad} if base == "nmnist" else {}
    return {"bin_ms": config.bin_ms, "steps": config.steps, **skipping}
