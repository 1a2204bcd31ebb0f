"""Which input is in which row of a batch, and what one forward pass over it gave.

A regularizer of stochastic passes does not need them of every image, nor one with inputs of its own as many as there
are images. So a batch is M equal groups, one for each draw of the masks (`tsnn_uq.uncertainty.set_generator`):

    [ images 0 .. n-1 | part of the rest ] [ images 0 .. n-1 | part of the rest ] ...

where the rest is the other N - n images, once, and then the extra inputs. A dropconnect mask is shared by a group, so
it is another one for each pass of an image.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["Forward", "Layout"]


@dataclass(frozen=True)
class Layout:
    """Which input is in which row of a batch.

    Attributes:
        passes: M, the number of groups.
        repeated: n, the first images, which are in every group.
        single: N - n, the other images.
        extra: k, the inputs that are no images of the batch.
    """

    passes: int
    repeated: int
    single: int
    extra: int

    @property
    def rows(self) -> int:
        """Rows of the batch: M n + N - n + k."""
        return self.passes * self.repeated + self.single + self.extra

    def gather(self, images: Tensor, extra: Tensor) -> Tensor:
        """The batch of images [N, ...] and extra inputs [k, ...]."""
        rest = torch.cat([images[self.repeated :], extra]).tensor_split(self.passes)
        return torch.cat([part for others in rest for part in (images[: self.repeated], others)])

    def split(self, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What belongs to the repeated images [M, n, ...], the others [N - n, ...] and the extra inputs [k, ...]."""
        groups = rows.unflatten(0, (self.passes, -1))
        rest = groups[:, self.repeated :].flatten(0, 1)
        return groups[:, : self.repeated], rest[: self.single], rest[self.single :]


@dataclass(frozen=True)
class Forward:
    """What one forward pass gave.

    Attributes:
        model: the network.
        images: [N, ...].
        target: labels [N].
        layout: which rows of the batch were whose.
        mc_logits: logits [M, n, C] of M stochastic passes over the first n images.
        single_logits: logits [N - n, C] of the other images.
        extra_logits: logits [k, C] of the extra inputs.
        seen: what the regularizer's `watch` saw.
        again: runs the batch once more with the same masks, and gives new `mc_logits`; BatchNorm's running statistics
            and the generators are afterwards as if it had not been run.
    """

    model: nn.Module
    images: Tensor
    target: Tensor
    layout: Layout
    mc_logits: Tensor
    single_logits: Tensor
    extra_logits: Tensor
    seen: Any
    again: Callable[[], Tensor]

    @property
    def first_logits(self) -> Tensor:
        """Logits [N, C] of one pass over each image."""
        return torch.cat([self.mc_logits[0], self.single_logits])

    @property
    def all_logits(self) -> Tensor:
        """Logits [M n + N - n, C] of all passes over images; `of_all` says whose."""
        return torch.cat([self.mc_logits.flatten(0, 1), self.single_logits])

    def of_all(self, values: Tensor) -> Tensor:
        """`values` [N, ...] of the images as `all_logits` has them."""
        repeated = self.layout.repeated
        return torch.cat([*[values[:repeated]] * self.layout.passes, values[repeated:]])
