"""Sources of batches: tensors, a Dataset or a DataLoader."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, Subset, TensorDataset, default_collate

from tsnn_uq.batches.batch import Batch, Checks
from tsnn_uq.checks import InputError, describe
from tsnn_uq.constant_input import is_constant, repeat_over_time, single_step
from tsnn_uq.seeds import GlobalStates, derive_seed, generator_for

__all__ = ["Collected", "Data", "Indexed", "Loaded", "Repeated", "Source", "open_data"]

Collected = Sequence[Any] | Dataset[Any] | DataLoader[Any]
"""Inputs with optional labels."""

Data = Tensor | Collected
"""Inputs, or inputs with labels."""


def open_data(
    argument: str,
    data: Data | Source,
    *,
    batch_dim: int = 0,
    labelled: bool = False,
    finite: bool = False,
    workers: int = 0,
) -> Source:
    """Open `data` as a source of batches.

    Args:
        argument: name of the data in error messages.
        data: tensors, a Dataset or a DataLoader; an open source is returned unchanged.
        batch_dim: the axis of a batch that counts inputs, 0, or 1 with time first. Items of a Dataset are stacked along
            it; batches of a DataLoader are not changed.
        labelled: whether labels are required.
        finite: whether NaN and infinity are errors.
        workers: processes that load the items of a Dataset; 0 for this one.

    Raises:
        InputError: the data have another type, there are no inputs, or the labels are invalid. For a Dataset or a
            DataLoader some checks run only when batches are loaded.
    """
    if isinstance(data, Source):
        return data
    checks = Checks(argument, batch_dim, labelled, finite)
    if isinstance(data, DataLoader):
        return Loaded(checks, data)
    tensors = _tensors(data, batch_dim)
    if tensors is not None:
        return _Tensors(checks, tensors)
    if isinstance(data, IterableDataset) or not (hasattr(data, "__getitem__") and hasattr(data, "__len__")):
        wanted = "tensors (inputs, labels), a map-style Dataset or a DataLoader"
        raise InputError(f"{argument}: expected {wanted}; got {describe(data)}")
    return _Items(checks, data, workers)


class Source(ABC):
    """Base class of sources of batches.

    Attributes:
        batch_dim: the axis of its batches that counts inputs.
        tensors: all inputs and all labels, if they are tensors.
    """

    batch_dim: int
    tensors: Batch | None = None

    @property
    @abstractmethod
    def count(self) -> int:
        """How many inputs there are."""

    @abstractmethod
    def in_order(self, batch_size: int) -> Iterator[Batch]:
        """All inputs once, in order, in batches of `batch_size`; a DataLoader has its own order and batch size."""

    def blocks(self, batch_size: int) -> Iterator[Batch]:
        """All inputs once, in blocks of `batch_size` also for a DataLoader; the last one may be smaller."""
        return self.in_order(batch_size)

    def first(self, count: int) -> Tensor:
        """The first `count` inputs in one tensor, or all if there are fewer."""
        parts, found = [], 0
        for batch in self.in_order(min(count, 256)):
            parts.append(batch.inputs)
            found += batch.inputs.shape[self.batch_dim]
            if found >= count:
                break
        return torch.cat(parts, self.batch_dim).narrow(self.batch_dim, 0, min(count, found))


class Indexed(Source):
    """Tensors or a Dataset, whose inputs can be accessed in any order."""

    @abstractmethod
    def take(self, batches: Iterable[tuple[Tensor, int]]) -> Iterator[Batch]:
        """Batches of the inputs with given indices [n], each with a seed for its random items."""


class Loaded(Source):
    """A DataLoader."""

    def __init__(self, checks: Checks, loader: DataLoader[Any]) -> None:
        self.checks, self.loader, self.batch_dim = checks, loader, checks.batch_dim

    @property
    def count(self) -> int:
        """How many inputs there are."""
        return self._length(self.loader.sampler)

    @property
    def steps(self) -> int:
        """How many batches there are."""
        return self._length(self.loader)

    def _length(self, of: Any) -> int:
        try:
            return len(of)
        except TypeError as error:
            raise InputError(f"{self.checks.argument}: expected a DataLoader with a length; it has none") from error

    def in_order(self, batch_size: int) -> Iterator[Batch]:
        """Its batches, in its own order and sizes."""
        return self._batches(0)

    def blocks(self, batch_size: int) -> Iterator[Batch]:
        """Its inputs in its own order, in blocks of `batch_size`; at most a batch and a block are in memory."""
        waiting: list[Batch] = []
        count = 0
        for batch in self._batches(0):
            size, start = batch.inputs.shape[self.batch_dim], 0
            while start < size:
                part = min(batch_size - count, size - start)
                waiting.append(batch.narrow(self.batch_dim, start, part))
                start, count = start + part, count + part
                if count == batch_size:
                    yield Batch.cat(waiting, self.batch_dim)
                    waiting, count = [], 0
        if waiting:
            yield Batch.cat(waiting, self.batch_dim)

    def epoch(self, seed: int, number: int) -> Iterator[Batch]:
        """Its batches in one epoch, with order and random items derived from a seed as far as possible.

        Generators of the loader and its samplers are seeded, ``set_epoch`` is called on samplers that have it, and the
        global generators of torch, NumPy and Python are seeded while it loads.
        """
        samplers: list[Any] = [self.loader.sampler, self.loader.batch_sampler]
        samplers.append(getattr(self.loader.batch_sampler, "sampler", None))
        for part in (self.loader, *samplers):
            if isinstance(generator := getattr(part, "generator", None), torch.Generator):
                generator.manual_seed(derive_seed(seed, "order"))
            if part is not self.loader and hasattr(part, "set_epoch"):
                part.set_epoch(number)
        return self._batches(seed)

    def _batches(self, seed: int) -> Iterator[Batch]:
        states = GlobalStates(seed)
        with states.lent():
            batches = iter(self.loader)
        while True:
            with states.lent():
                items = next(batches, None)
            if items is None:
                return
            yield self.checks.batch(items)


class Repeated(Source):
    """Data that are loaded several times, and must be the same in the same order each time.

    Args:
        argument: name of the data in error messages.
        source: the source of the batches.
    """

    def __init__(self, argument: str, source: Source) -> None:
        self.argument, self.source, self.batch_dim = argument, source, source.batch_dim
        self._digests: list[bytes] = []

    @property
    def count(self) -> int:
        """How many inputs there are."""
        return self.source.count

    def in_order(self, batch_size: int) -> Iterator[Batch]:
        """The batches of `source`."""
        return self._same(self.source.in_order(batch_size))

    def blocks(self, batch_size: int) -> Iterator[Batch]:
        """The blocks of `source`."""
        return self._same(self.source.blocks(batch_size))

    def _same(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        """The batches, each compared with the first one at its position.

        Raises:
            InputError: a batch differs.
        """
        first, digests = not self._digests, []
        for batch in batches:
            digests.append(_digest(batch))
            if not first and digests != self._digests[: len(digests)]:
                break
            yield batch
        if not first and digests != self._digests:
            raise InputError(
                f"{self.argument}: expected the same inputs in the same order each time they are gone through; got "
                "others (a DataLoader with shuffle=False and nothing random that is not seeded)"
            )
        self._digests = digests


def _digest(batch: Batch) -> bytes:
    """A hash of the values of a batch."""
    digest = hashlib.blake2b(digest_size=16)
    for part in batch[:2]:
        if part is not None:
            digest.update(part.cpu().contiguous().view(torch.uint8).numpy().data)
    return digest.digest()


class _Tensors(Indexed):
    """All inputs in one tensor, and their labels in another."""

    def __init__(self, checks: Checks, tensors: Sequence[Tensor]) -> None:
        self.batch_dim = checks.batch_dim
        self.inputs, self.labels, _ = self.tensors = checks.batch(tensors)

    @property
    def count(self) -> int:
        return self.inputs.shape[self.batch_dim]

    def in_order(self, batch_size: int) -> Iterator[Batch]:
        for indices in torch.arange(self.count).split(batch_size):
            start, stop = int(indices[0]), int(indices[-1]) + 1
            part = self.inputs.narrow(self.batch_dim, start, stop - start)
            yield Batch(part, None if self.labels is None else self.labels[start:stop], indices)

    def take(self, batches: Iterable[tuple[Tensor, int]]) -> Iterator[Batch]:
        for indices, _ in batches:
            yield Batch(self._rows(indices), None if self.labels is None else self.labels[indices], indices)

    def _rows(self, indices: Tensor) -> Tensor:
        if self.batch_dim == 1 and is_constant(self.inputs):  # keep constant input a view
            return repeat_over_time(single_step(self.inputs)[indices], len(self.inputs))
        return self.inputs[(slice(None),) * self.batch_dim + (indices,)]


class _Items(Indexed):
    """A map-style Dataset."""

    def __init__(self, checks: Checks, dataset: Any, workers: int) -> None:
        self.stacked = replace(checks, batch_dim=0)  # stacked first, then moved to the batch axis
        self.dataset, self.workers, self.batch_dim = dataset, workers, checks.batch_dim
        if not len(dataset):
            raise InputError(f"{checks.argument}: expected at least one input; got a Dataset of none")

    @property
    def count(self) -> int:
        return len(self.dataset)

    def in_order(self, batch_size: int) -> Iterator[Batch]:
        parts = torch.arange(self.count).split(batch_size)
        return self.take((part, derive_seed(0, "items", number)) for number, part in enumerate(parts))

    def take(self, batches: Iterable[tuple[Tensor, int]]) -> Iterator[Batch]:
        # The seed is sent with the indices, since only the process that loads a batch can use it.
        keys: Any = ((indices.tolist(), seed) for indices, seed in batches)
        loader: DataLoader[Any] = DataLoader(
            _Collated(self.dataset),
            sampler=keys,
            batch_size=None,
            collate_fn=_as_it_is,
            num_workers=self.workers,
            generator=generator_for(0, "workers"),  # leaves the global generator unchanged
        )
        for indices, items in loader:
            batch = self.stacked.batch(items, torch.tensor(indices))
            yield batch._replace(inputs=batch.inputs.movedim(0, self.batch_dim).contiguous())


class _Collated(Dataset[Any]):
    """Batches of items of a Dataset."""

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset

    def __getitem__(self, key: tuple[list[int], int]) -> tuple[list[int], Any]:
        indices, seed = key
        together = getattr(self.dataset, "__getitems__", None)
        with GlobalStates(seed).lent():
            items = together(indices) if callable(together) else [self.dataset[index] for index in indices]
        return indices, default_collate(items)


def _as_it_is(batch: Any) -> Any:
    return batch


def _tensors(data: Any, batch_dim: int) -> Sequence[Tensor] | None:
    """The tensors of `data`, the first one with the inputs along an axis; None if it is not made of tensors."""
    if isinstance(data, Tensor):
        return [data]
    if isinstance(data, tuple) or (isinstance(data, list) and data and all(isinstance(part, Tensor) for part in data)):
        return data
    stacked = _stacked(data)
    return stacked and [stacked[0].movedim(0, batch_dim), *stacked[1:]]


def _stacked(data: Any) -> Sequence[Tensor] | None:
    """The tensors of a TensorDataset, or of a Subset of one, with the items on the first axis."""
    if isinstance(data, TensorDataset) and type(data).__getitem__ is TensorDataset.__getitem__:
        return data.tensors
    whole = _stacked(data.dataset) if type(data) is Subset else None
    return whole and [part[torch.as_tensor(data.indices)] for part in whole]
