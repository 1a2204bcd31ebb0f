"""The data of a run: a data set as its settings want it, whatever form its component gives it in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import ConcatDataset, Subset, TensorDataset

from tsnn_uq import data
from tsnn_uq.checks import InputError, check_labels, describe
from tsnn_uq.data.folds import fold_of
from tsnn_uq.experiments.components import is_reference, known
from tsnn_uq.experiments.settings import Settings, chosen
from tsnn_uq.networks import drawn_from
from tsnn_uq.seeds import generator_for

__all__ = [
    "Inputs",
    "Items",
    "extent_of",
    "is_foreign",
    "is_kindred",
    "load_splits",
    "load_test",
    "other_sets",
    "split_shift",
]

PARTS = ("train", "validation", "test")


@dataclass(frozen=True, eq=False)
class Inputs(data.Dataset):
    """Labelled inputs of any shape: ``images`` [N, ...], ``labels`` [N]."""

    def __post_init__(self) -> None:
        labels = check_labels("labels", self.labels, self.classes, count=len(self.images))
        object.__setattr__(self, "labels", labels)


class Items(data.Dataset):
    """Labelled inputs of a torch Dataset, float32, each loaded when it is needed.

    Args:
        items: a map-style Dataset of pairs of an input and a class number.
        labels: class numbers [N].
        name: what they are.
        classes: number of classes.
    """

    items: Any

    def __init__(self, items: Any, labels: Tensor, name: str, classes: int) -> None:
        labels = check_labels("labels", labels, classes, count=len(items))
        vars(self).update(items=items, labels=labels, name=name, classes=classes)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:  # type: ignore[override]
        """An input and its label."""
        return _item(self.items[index])

    @property
    def shape(self) -> tuple[int, ...]:
        """That of one input."""
        return tuple(self[0][0].shape)

    @property
    def images(self) -> Tensor:
        """All inputs, loaded into one tensor [N, ...]."""
        return torch.stack([self[index][0] for index in range(len(self))])

    def loaded(self) -> Inputs:
        """The same in tensors."""
        return Inputs(self.images, self.labels, self.name, self.classes)

    def select(self, indices: Tensor) -> Items:
        """The inputs with these `indices` [M], in their order; none is loaded."""
        return Items(Subset(self.items, indices.tolist()), self.labels[indices], self.name, self.classes)

    def joined(self, other: data.Dataset) -> Items:
        """These inputs and then those of `other`; none is loaded."""
        labels = torch.cat([self.labels, other.labels])
        return Items(ConcatDataset([self, other]), labels, self.name, self.classes)


def load_splits(settings: Settings, data_dir: str | Path | None = None) -> data.Splits:
    """Training, validation and test part of a run's data; errors as in `tsnn_uq.data.load`."""
    if not settings.folds or chosen("data", settings.data.name).takes("folds"):
        return _load(settings, settings.seed, data_dir)
    name = settings.data.name
    if name in _SETS:
        binning = _binning(settings, name)
        folded = data.load_fold(name, data_dir, folds=settings.folds, seed=settings.seed, **binning)
        return folded if getattr(settings.data, "augment", True) else replace(folded, augment=None)
    splits = _load(settings, 0, data_dir)
    return fold_of(
        splits.train.joined(splits.validation).joined(splits.test), name, folds=settings.folds, seed=settings.seed
    )


_SETS = ("digits", *data.SOURCES, *data.EVENT_SETS)


def _load(settings: Settings, seed: int, data_dir: str | Path | None) -> data.Splits:
    with drawn_from(generator_for(seed, "data")):  # of code that asks torch's global generator
        made = settings.make("data", seed=seed, data_dir=data_dir, folds=settings.folds)
        return _splits(made, settings.data.name)


def _splits(given: Any, name: str) -> data.Splits:
    if isinstance(given, data.Splits):
        return given
    if not isinstance(given, Mapping) or set(given) != set(PARTS):
        what = sorted(given) if isinstance(given, Mapping) else describe(given)
        raise InputError(f"data: expected tsnn_uq.data.Splits or a dictionary of {', '.join(PARTS)}; got {what}")
    found = {part: _opened(part, given[part]) for part in PARTS}
    classes = 1 + max(int(labels.max()) for _, labels, _ in found.values())
    shapes = set().union(*(shapes for _, _, shapes in found.values()))
    if len(shapes) > 1:
        raise InputError(f"data: expected inputs of one shape; got {', '.join(map(str, sorted(shapes)))}")
    made: dict[str, data.Dataset] = {
        part: (Inputs if isinstance(inputs, Tensor) else Items)(inputs, labels, name, classes)
        for part, (inputs, labels, _) in found.items()
    }
    return data.Splits(made["train"], made["validation"], made["test"], name)


def _opened(name: str, part: Any) -> tuple[Any, Tensor, set[tuple[int, ...]]]:
    """Inputs [N, ...] of a part, or a Dataset of pairs as it is; labels [N]; and which shapes inputs have.

    A Dataset is gone through once for that.
    """
    part = part.tensors if isinstance(part, TensorDataset) else part
    try:
        if isinstance(part, tuple | list) and len(part) == 2 and hasattr(part[0], "shape"):
            inputs, labels = torch.as_tensor(part[0]).float(), torch.as_tensor(part[1]).long()
            count, shapes = len(inputs), {tuple(inputs.shape[1:])}
        else:
            inputs, count = part, len(part)
            seen = [(tuple(one.shape), label) for one, label in (_item(part[index]) for index in range(count))]
            labels, shapes = torch.tensor([label for _, label in seen]), {shape for shape, _ in seen}
    except (IndexError, RuntimeError, TypeError, ValueError) as error:
        wanted = "(inputs, labels) or a torch Dataset of inputs of one shape and labels"
        raise InputError(f"data: expected as {name} {wanted}; got {describe(part)}: {error}") from error
    if not count or count != len(labels):
        raise InputError(f"data: expected inputs and as many labels in {name}; got {count} and {len(labels)}")
    return inputs, labels, shapes


def _item(pair: Any) -> tuple[Tensor, int]:
    one, label = pair
    return torch.as_tensor(one).float(), int(label)


def extent_of(settings: Settings, data_dir: str | Path | None = None) -> data.Extent:
    """How large a run's data are; those of other people's code are loaded to be counted, once."""
    if settings.data.name in _SETS:
        return data.extent(settings.data.name, data_dir)
    return _counted(settings.replace(seed=0, folds=0), data_dir)


def other_sets() -> list[str]:
    """Names of registered data sets that have no files of their own."""
    return [name for name in known("data") if name not in _SETS]


@lru_cache(maxsize=8)
def _counted(settings: Settings, data_dir: str | Path | None) -> data.Extent:
    splits = load_splits(settings, data_dir)
    train = splits.train
    return data.Extent(train.shape, train.classes, *(len(getattr(splits, part)) for part in PARTS))


def load_test(
    settings: Settings,
    name: str,
    data_dir: str | Path | None = None,
    *,
    seed: int = 0,
    shape: Sequence[int] | None = None,
) -> data.Dataset:
    """The test part of a data set, with events binned as the run has them; errors as in `tsnn_uq.data.load_test`.

    Of real recordings it is all of them for a run on simulated ones, which has not seen their images. Most of those
    simulated show images that a run on real ones knows, so there it is their test part alone.

    Args:
        settings: of the run.
        name: a data set, also shifted (``"mnist:rotate=30"``), one of those without a training part, or a component.
        data_dir: where the data lie.
        seed: of a random shift.
        shape: what the run's network takes, to which images of the package's other sets are fitted.
    """
    own = settings.data.name
    if (own, name) == ("nmnist-simulated", "nmnist"):
        return data.load_all(name, data_dir, **_binning(settings, name))
    base, shift = split_shift(name)
    if settings.folds and base == own:
        test = load_splits(settings, data_dir).test
    elif name.partition(":")[0] in (*_SETS, "noise") or not (base in known("data") or is_reference(base)):
        events = {own, base} & {*data.EVENT_SETS}
        return data.load_test(name, data_dir, seed=seed, shape=None if events else shape, **_binning(settings, name))
    elif base == own:
        test = _load(settings, settings.seed, data_dir).test
    else:
        test = _load(settings.replace(data=base), seed, data_dir).test
    return Inputs(data.apply_shift(test.images, shift, seed=seed), test.labels, name, test.classes) if shift else test


def split_shift(name: str) -> tuple[str, str]:
    """A data set's name and the shift after it, or an empty text.

    Example:
        >>> split_shift("mine.py:load:rotate=30"), split_shift("mine.py:load")
        (('mine.py:load', 'rotate=30'), ('mine.py:load', ''))
    """
    base, _, shift = name.rpartition(":")
    return (base, shift) if base and "=" in shift else (name, "")


def is_foreign(own: str, name: str) -> bool:
    """Whether labels of a data set, shifted or not, mean nothing to a network trained on `own`.

    Example:
        >>> is_foreign("mine.py:load", "mine.py:load:rotate=30"), is_foreign("mnist", "fashion-mnist")
        (False, True)
    """
    return split_shift(name)[0] != own and not is_kindred(own, name)


def is_kindred(one: str, other: str) -> bool:
    """Whether two data sets are different recordings of the same classes."""
    return one != other and one in data.EVENT_SETS and other in data.EVENT_SETS


def _binning(settings: Settings, name: str) -> dict[str, Any]:
    """How events are binned for a run's network, also where its own data are others."""
    base = name.partition(":")[0]
    if base not in data.EVENT_SETS:
        return {}
    layers = {"steps": getattr(settings.network, "steps", None), "bin_ms": getattr(settings.neuron, "step_ms", 1.0)}
    own = {**layers, **settings.data.values()}
    return {name: own[name] for name in ("steps", "bin_ms", *["skip_bad"] * (base == "nmnist")) if name in own}
