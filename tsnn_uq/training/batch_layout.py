"""The layout of inputs in a batch, and the results of one forward pass over it.

A regularizer may need stochastic passes over some of the images only, and may add fewer inputs than there are images. A
batch therefore has M equal groups, one for each draw of the masks (`tsnn_uq.uncertainty.set_generator`):

    [ images 0 .. n-1 | part of the others | part of the extra ] [ images 0 .. n-1 | part of the others | ...

where "the others" are the remaining N - n images, which occur once, and "the extra" are inputs of the regularizer, of
one or several kinds. A group shares a dropconnect mask, so each pass of an image has a different mask. Extra inputs
that are repeated M times have one copy in each group.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from tsnn_uq.constant_input import is_constant, repeat_over_time, single_step

__all__ = ["Forward", "Layout"]


@dataclass(frozen=True)
class Layout:
    """The layout of inputs in a batch.

    Attributes:
        passes: M, the number of groups.
        repeated: n, the first images, which are in every group.
        single: N - n, the other images.
        extra: k of each kind of extra inputs.
    """

    passes: int
    repeated: int
    single: int
    extra: tuple[int, ...]

    @property
    def rows(self) -> int:
        """Rows of the batch: M n + N - n + k of each kind."""
        return self.passes * self.repeated + self.single + sum(self.extra)

    def gather(self, images: Tensor, extras: Sequence[Tensor], dim: int = 0) -> Tensor:
        """The batch of images and extra inputs, N and k of each kind along axis `dim`."""
        if dim == 1 and is_constant(images) and not extras:  # keep constant input a view
            return repeat_over_time(self.gather(single_step(images), extras), len(images))
        repeated, single = images.split([self.repeated, self.single], dim)
        parts = [part.tensor_split(self.passes, dim) for part in (single, *extras)]
        return torch.cat([part for group in zip(*parts, strict=True) for part in (repeated, *group)], dim)

    def split(self, rows: Tensor) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
        """Split rows into the repeated images [M, n, ...], the others [N - n, ...] and each kind of extra [k, ...]."""
        groups = rows.unflatten(0, (self.passes, -1))
        sizes = [length // self.passes for length in (self.single, *self.extra)]
        repeated, *parts = groups.split([self.repeated, *sizes], dim=1)
        single, *extras = (part.flatten(0, 1) for part in parts)
        return repeated, single, tuple(extras)


@dataclass(frozen=True)
class Forward:
    """The results of one forward pass.

    Attributes:
        model: the network.
        images: N inputs.
        target: labels [N].
        layout: the layout of the batch.
        mc_logits: logits [M, n, C] of M stochastic passes over the first n images.
        single_logits: logits [N - n, C] of the other images.
        extras: logits [k, C] of each kind of extra inputs.
        seen: what the regularizer's `watch` recorded.
        again: runs the batch again with the same masks and returns new `mc_logits`; BatchNorm's running statistics and
            the generators are restored afterwards.
        indices: positions of the images in the training set [N].
        seed: seed of this step, for anything else that is random.
        over_time: the rows of `all_logits` at the K times at which the loss is computed, [K, M n + N - n, C]; None if
            the loss is only computed on the mean over time.
    """

    model: nn.Module
    images: Tensor
    target: Tensor
    layout: Layout
    mc_logits: Tensor
    single_logits: Tensor
    extras: tuple[Tensor, ...]
    seen: Any
    again: Callable[[], Tensor]
    indices: Tensor
    seed: int
    over_time: Tensor | None = None

    @property
    def extra_logits(self) -> Tensor:
        """Logits [k, C] of the first kind of extra inputs."""
        return self.extras[0] if self.extras else self.single_logits[:0]

    @property
    def first_logits(self) -> Tensor:
        """Logits [N, C] of one pass over each image."""
        return torch.cat([self.mc_logits[0], self.single_logits])

    @property
    def all_logits(self) -> Tensor:
        """Logits [M n + N - n, C] of all passes over images, in the order of `of_all`."""
        return torch.cat([self.mc_logits.flatten(0, 1), self.single_logits])

    @property
    def loss_logits(self) -> Tensor:
        """Logits [K, M n + N - n, C] over which the loss is averaged: all passes, at K times or over all time."""
        return self.all_logits[None] if self.over_time is None else self.over_time

    def of_all(self, values: Tensor) -> Tensor:
        """`values` [N, ...] of the images, repeated in the order of `all_logits`."""
        repeated = self.layout.repeated
        return torch.cat([*[values[:repeated]] * self.layout.passes, values[repeated:]])
