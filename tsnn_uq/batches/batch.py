"""A batch of inputs and labels, and its checks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from tsnn_uq.checks import InputError, class_numbers, describe
from tsnn_uq.constant_input import is_constant, single_step

__all__ = ["Batch", "Checks", "cat_labels", "device_of"]

PROCESSOR = torch.device("cpu")


class Batch(NamedTuple):
    """A batch of inputs.

    Attributes:
        inputs: n of them along the batch axis.
        labels: class numbers [n], int64, or None.
        indices: positions among all inputs [n]; None for a DataLoader.
    """

    inputs: Tensor
    labels: Tensor | None = None
    indices: Tensor | None = None

    @property
    def target(self) -> Tensor:
        """The labels of a batch that has labels."""
        assert self.labels is not None
        return self.labels

    def narrow(self, batch_dim: int, start: int, count: int) -> Batch:
        """Select `count` inputs, without their indices."""
        labels = None if self.labels is None else self.labels.narrow(0, start, count)
        return Batch(self.inputs.narrow(batch_dim, start, count), labels)

    @staticmethod
    def cat(parts: Sequence[Batch], batch_dim: int) -> Batch:
        """Concatenate several batches, without their indices."""
        if len(parts) == 1:
            return parts[0]
        inputs = torch.cat([part.inputs for part in parts], batch_dim)
        return Batch(inputs, cat_labels([part.labels for part in parts]))

    def to(self, device: torch.device) -> Batch:
        """Move the batch to a device."""
        labels = None if self.labels is None else self.labels.to(device, non_blocking=True)
        return Batch(self.inputs.to(device, non_blocking=True), labels, self.indices)


def cat_labels(parts: Sequence[Tensor | None]) -> Tensor | None:
    """Concatenate the labels of several batches; None if there are none.

    Raises:
        InputError: only some of the batches have labels.
    """
    labels = [part for part in parts if part is not None]
    if len(labels) not in (0, len(parts)):
        raise InputError(f"labels: expected them in all batches, or in none; got {len(labels)} of {len(parts)} with")
    return torch.cat(labels) if labels else None


def device_of(model: nn.Module, default: torch.device = PROCESSOR) -> torch.device:
    """The device of a network; `default` for one without parameters and buffers."""
    first = next(chain(model.parameters(), model.buffers()), None)
    return default if first is None else first.device


@dataclass(frozen=True)
class Checks:
    """Checks of batches.

    Args:
        argument: name of the data in error messages.
        batch_dim: the batch axis.
        labelled: whether labels are required.
        finite: whether NaN and infinity are errors.
    """

    argument: str
    batch_dim: int
    labelled: bool
    finite: bool

    def batch(self, items: Any, indices: Tensor | None = None) -> Batch:
        """A batch from a tensor of inputs, or from a sequence of inputs and labels.

        Raises:
            InputError: the data have another type, there are no inputs, or the labels are invalid.
        """
        parts = [items] if isinstance(items, Tensor) else list(items) if isinstance(items, tuple | list) else []
        if not 1 + self.labelled <= len(parts) <= 2 or not all(isinstance(part, Tensor) for part in parts):
            wanted = "(inputs, labels)" if self.labelled else "inputs or (inputs, labels)"
            got = ", ".join(type(part).__name__ for part in parts) or type(items).__name__
            raise InputError(f"{self.argument}: expected {wanted} as tensors; got {got}")
        inputs = parts[0]
        count = inputs.shape[self.batch_dim] if 0 <= self.batch_dim < inputs.dim() else 0
        if not count or (len(parts) == 2 and parts[1].shape != (count,)):
            wanted = "as many images as labels, at least one" if len(parts) == 2 else "at least one input"
            got = " and ".join(map(describe, parts))
            raise InputError(f"{self.argument}: expected {wanted} along axis {self.batch_dim}; got {got}")
        if self.finite and not torch.isfinite(single_step(inputs) if is_constant(inputs) else inputs).all():
            raise InputError(f"{self.argument}: expected finite values; got NaN or infinity")
        return Batch(inputs, class_numbers("labels", parts[1]) if len(parts) == 2 else None, indices)
