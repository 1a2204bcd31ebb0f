"""Splits from user data: arrays or a torch Dataset for each part; a Dataset is loaded lazily."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import ConcatDataset, Subset, TensorDataset

from tsnn_uq.checks import InputError, check_labels, describe
from tsnn_uq.data.images import Dataset
from tsnn_uq.data.splits import Splits

__all__ = ["Inputs", "Items", "as_splits"]

PARTS = ("train", "validation", "test")


@dataclass(frozen=True, eq=False)
class Inputs(Dataset):
    """Labelled inputs of any shape: ``images`` [N, ...], ``labels`` [N]."""

    def __post_init__(self) -> None:
        labels = check_labels("labels", self.labels, self.classes, count=len(self.images))
        object.__setattr__(self, "labels", labels)


class Items(Dataset):
    """Labelled inputs of a torch Dataset, converted to float32 and loaded lazily.

    Args:
        items: a map-style Dataset of pairs of an input and a class number.
        labels: class numbers [N].
        name: name of the data set.
        classes: number of classes.
    """

    items: Any

    def __init__(self, items: Any, labels: Tensor, name: str, classes: int) -> None:
        labels = check_labels("labels", labels, classes, count=len(items))
        vars(self).update(items=items, labels=labels, name=name, classes=classes)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:  # type: ignore[override]
        """An input and its label."""
        return _read_item(self.items[index])

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of an input."""
        return tuple(self[0][0].shape)

    @property
    def images(self) -> Tensor:
        """All inputs, loaded into one tensor [N, ...]."""
        return torch.stack([self[index][0] for index in range(len(self))])

    def loaded(self) -> Inputs:
        """The same inputs as tensors."""
        return Inputs(self.images, self.labels, self.name, self.classes)

    def select(self, indices: Tensor) -> Items:
        """The inputs at `indices` [M], in this order, without loading any."""
        return Items(Subset(self.items, indices.tolist()), self.labels[indices], self.name, self.classes)

    def joined(self, other: Dataset) -> Items:
        """These inputs followed by those of `other`, without loading any."""
        labels = torch.cat([self.labels, other.labels])
        return Items(ConcatDataset([self, other]), labels, self.name, self.classes)


def as_splits(given: Any, name: str) -> Splits:
    """Convert data from a user's function to splits.

    Args:
        given: `Splits`, returned unchanged, or a dictionary of ``train``, ``validation`` and ``test``. Each is a pair
            of inputs [N, ...] and class numbers [N], as tensors or arrays, or a map-style Dataset of such pairs, which
            is read once for its labels.
        name: name of the data set.

    Raises:
        InputError: `given` has another form, inputs differ in shape, or the numbers of inputs and labels differ.
    """
    if isinstance(given, Splits):
        return given
    if not isinstance(given, Mapping) or set(given) != set(PARTS):
        what = sorted(given) if isinstance(given, Mapping) else describe(given)
        raise InputError(f"data: expected tsnn_uq.data.Splits or a dictionary of {', '.join(PARTS)}; got {what}")
    found = {part: _read_part(part, given[part]) for part in PARTS}
    classes = 1 + max(int(labels.max()) for _, labels, _ in found.values())
    shapes = set().union(*(shapes for _, _, shapes in found.values()))
    if len(shapes) > 1:
        raise InputError(f"data: expected inputs of one shape; got {', '.join(map(str, sorted(shapes)))}")
    made: dict[str, Dataset] = {
        part: (Inputs if isinstance(inputs, Tensor) else Items)(inputs, labels, name, classes)
        for part, (inputs, labels, _) in found.items()
    }
    return Splits(made["train"], made["validation"], made["test"], name)


def _read_part(name: str, part: Any) -> tuple[Any, Tensor, set[tuple[int, ...]]]:
    """Inputs [N, ...] of a part, or its Dataset of pairs; labels [N]; and the set of input shapes.

    A Dataset is read once for labels and shapes.
    """
    part = part.tensors if isinstance(part, TensorDataset) else part
    try:
        if isinstance(part, tuple | list) and len(part) == 2 and hasattr(part[0], "shape"):
            inputs, labels = torch.as_tensor(part[0]).float(), torch.as_tensor(part[1]).long()
            count, shapes = len(inputs), {tuple(inputs.shape[1:])}
        else:
            inputs, count = part, len(part)
            seen = [(tuple(one.shape), label) for one, label in (_read_item(part[index]) for index in range(count))]
            labels, shapes = torch.tensor([label for _, label in seen]), {shape for shape, _ in seen}
    except (IndexError, RuntimeError, TypeError, ValueError) as error:
        wanted = "(inputs, labels) or a torch Dataset of inputs of one shape and labels"
        raise InputError(f"data: expected {wanted} for {name}; got {describe(part)}: {error}") from error
    if not count or count != len(labels):
        raise InputError(f"data: expected as many labels as inputs in {name}; got {count} inputs, {len(labels)} labels")
    return inputs, labels, shapes


def _read_item(pair: Any) -> tuple[Tensor, int]:
    one, label = pair
    return torch.as_tensor(one).float(), int(label)
