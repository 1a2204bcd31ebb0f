"""Load the data of a run from its data component, in the form that its settings require."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from tsnn_uq import data
from tsnn_uq.components.registry import is_reference, known
from tsnn_uq.data.cross_validation import fold_of
from tsnn_uq.experiments.settings import Settings, chosen
from tsnn_uq.networks import drawn_from
from tsnn_uq.seeds import generator_for

__all__ = ["extent_of", "load_splits", "load_test", "other_sets"]

_SETS = ("digits", *data.SOURCES, *data.EVENT_SETS)


def load_splits(settings: Settings, data_dir: str | Path | None = None) -> data.Splits:
    """Load the training, validation and test part of a run's data; raises as `tsnn_uq.data.load`."""
    name = settings.data.name
    if not settings.folds or chosen("data", name).takes("folds"):
        return _load(settings, settings.seed, data_dir)
    splits = _load(settings, 0, data_dir)
    everything = splits.train.joined(splits.validation).joined(splits.test)
    return fold_of(everything, name, folds=settings.folds, seed=settings.seed)


def _load(settings: Settings, seed: int, data_dir: str | Path | None) -> data.Splits:
    with drawn_from(generator_for(seed, "data")):  # for code that uses torch's global generator
        made = settings.make("data", seed=seed, data_dir=data_dir, folds=settings.folds)
        return data.as_splits(made, settings.data.name)


def extent_of(settings: Settings, data_dir: str | Path | None = None) -> data.Extent:
    """The sizes of a run's data. Data from user code are loaded once to count them."""
    if settings.data.name in _SETS:
        return data.extent(settings.data.name, data_dir)
    return _counted(settings.replace(seed=0, folds=0), data_dir)


def other_sets() -> list[str]:
    """Names of registered data sets that have no files of their own."""
    return [name for name in known("data") if name not in _SETS]


@lru_cache(maxsize=8)
def _counted(settings: Settings, data_dir: str | Path | None) -> data.Extent:
    splits = load_splits(settings, data_dir)
    sizes = map(len, (splits.train, splits.validation, splits.test))
    return data.Extent(splits.train.shape, splits.train.classes, *sizes)


def load_test(
    settings: Settings,
    name: str,
    data_dir: str | Path | None = None,
    *,
    seed: int = 0,
    shape: Sequence[int] | None = None,
) -> data.Dataset:
    """Load the test part of a data set, with events binned as in the run; raises as `tsnn_uq.data.load_test`.

    For runs on simulated recordings, real recordings are all used, since the run has not seen their images. Most
    simulated recordings show images that a run on real ones has been trained on, so for such runs only their test part
    is used.

    Args:
        settings: settings of the run.
        name: a data set, optionally shifted (``"mnist:rotate=30"``), a data set without a training part, or a
            component.
        data_dir: folder of the data sets.
        seed: seed of random shifts.
        shape: input shape of the run's network, to which images of this package's other data sets are resized.
    """
    own = settings.data.name
    if (own, name) == ("nmnist-simulated", "nmnist"):
        return data.load_all(name, data_dir, **_binning(settings, name))
    base, shift = data.split_shift(name)
    if settings.folds and base == own:
        test = load_splits(settings, data_dir).test
    elif name.partition(":")[0] in (*_SETS, "noise") or not (base in known("data") or is_reference(base)):
        events = {own, base} & {*data.EVENT_SETS}
        return data.load_test(name, data_dir, seed=seed, shape=None if events else shape, **_binning(settings, name))
    elif base == own:
        test = _load(settings, settings.seed, data_dir).test
    else:
        test = _load(settings.replace(data=base), seed, data_dir).test
    if not shift:
        return test
    return data.Inputs(data.apply_shift(test.images, shift, seed=seed), test.labels, name, test.classes)


def _binning(settings: Settings, name: str) -> dict[str, Any]:
    """How events are binned for a run's network, which may have been trained on other data."""
    base = name.partition(":")[0]
    if base not in data.EVENT_SETS:
        return {}
    layers = {"steps": getattr(settings.network, "steps", None), "bin_ms": getattr(settings.neuron, "step_ms", 1.0)}
    own = {**layers, **settings.data.values()}
    return {name: own[name] for name in ("steps", "bin_ms", *["skip_bad"] * (base == "nmnist")) if name in own}
