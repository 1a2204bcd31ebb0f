"""The batches of a training, epoch by epoch, in an order derived from the seed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice

import torch
from torch import Generator, Tensor

from tsnn_uq.batches import Batch, Indexed, Loaded, Source
from tsnn_uq.checks import InputError, check_labels, describe
from tsnn_uq.seeds import derive_seed, generator_for

__all__ = ["Augment", "Epochs"]

Augment = Callable[[Tensor, Generator], Tensor]
"""Maps a batch of inputs to a batch of the same size."""


class Epochs(Source):
    """Batches for the steps of a training, on the network's device.

    Args:
        source: the source of the batches.
        batch_size: inputs in a step; a DataLoader has its own.
        seed: seed of the order, of the random numbers that items of a Dataset draw, and of `augment`.
        device: device of the batches.
        augment: changes each batch of inputs, with a generator on that device.

    Attributes:
        steps: batches in an epoch.
        joined: whether a last batch of one input is part of the batch before it.
        tensors: all inputs, if they are tensors that are not augmented.
    """

    def __init__(
        self, source: Source, batch_size: int, seed: int, device: torch.device, augment: Augment | None = None
    ) -> None:
        self.source, self.batch_size, self.seed, self.device, self.augment = source, batch_size, seed, device, augment
        self.batch_dim, self.joined = source.batch_dim, False
        self.tensors = source.tensors if augment is None else None
        self._checked = False

    @property
    def count(self) -> int:
        """Number of inputs."""
        return self.source.count

    @property
    def steps(self) -> int:
        """Batches in an epoch."""
        if isinstance(self.source, Loaded):
            return self.source.steps
        return -(-self.count // self.batch_size) - self.joined

    @property
    def ends_alone(self) -> bool:
        """Whether the last batch of an epoch has one input and is not the only batch."""
        return isinstance(self.source, Indexed) and self.steps > 1 and self.count % self.batch_size == 1

    def in_order(self, batch_size: int) -> Iterator[Batch]:
        """All inputs once, not augmented, on the device."""
        return (batch.to(self.device) for batch in self.source.in_order(batch_size))

    def can_go_on(self, step: int) -> bool:
        """Whether `batches` can start at a step; with a DataLoader only at the first of an epoch."""
        return isinstance(self.source, Indexed) or step % self.steps == 0

    def batches(self, step: int, epochs: int) -> Iterator[Batch]:
        """The batches of all steps from `step` to the end of the last epoch."""
        take = self._tensor_batches if isinstance(self.source, Indexed) else self._loader_batches
        for number, batch in enumerate(take(step, epochs), start=step):
            moved = batch.to(self.device)
            yield moved if self.augment is None else moved._replace(inputs=self._augmented(moved.inputs, number))

    def check_labels(self, batch: Batch, classes: int) -> None:
        """Raise if labels are not classes: checked once for tensors, otherwise per batch."""
        if self._checked:
            return
        self._checked = self.source.tensors is not None
        check_labels("labels", (self.source.tensors or batch).target, classes)

    def _order(self, epoch: int) -> list[Tensor]:
        order = torch.randperm(self.count, generator=generator_for(self.seed, "order", epoch))
        parts = list(order.split(self.batch_size))
        return [*parts[:-2], torch.cat(parts[-2:])] if self.joined else parts

    def _tensor_batches(self, step: int, epochs: int) -> Iterator[Batch]:
        assert isinstance(self.source, Indexed)
        parts: Iterator[Tensor] = (part for epoch in range(step // self.steps, epochs) for part in self._order(epoch))
        parts = islice(parts, step % self.steps, None)
        return self.source.take((part, derive_seed(self.seed, "items", k)) for k, part in enumerate(parts, start=step))

    def _loader_batches(self, step: int, epochs: int) -> Iterator[Batch]:
        assert isinstance(self.source, Loaded)
        for epoch in range(step // self.steps, epochs):
            number = inputs = 0
            for number, batch in enumerate(self.source.epoch(derive_seed(self.seed, "loader", epoch), epoch), start=1):
                if number > self.steps:
                    break
                count = batch.inputs.shape[self.batch_dim]
                yield batch._replace(indices=torch.arange(inputs, inputs + count))
                inputs += count
            if number != self.steps:
                wanted = f"a DataLoader with {self.steps} batches per epoch, its length"
                raise InputError(f"train: expected {wanted}; got {'more' if number > self.steps else number}")

    def _augmented(self, inputs: Tensor, step: int) -> Tensor:
        assert self.augment is not None
        augmented = self.augment(inputs, generator_for(self.seed, "augment", step, device=self.device))
        count = inputs.shape[self.batch_dim]
        if not isinstance(augmented, Tensor) or augmented.shape[self.batch_dim : self.batch_dim + 1] != (count,):
            raise InputError(f"augment: expected {count} inputs on axis {self.batch_dim}; got {describe(augmented)}")
        return augmented
