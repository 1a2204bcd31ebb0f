"""The base class of stochastic layers; masks are drawn from explicit generators, one mask per generator."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from tsnn_uq.checks import InputError, check_choice, check_fraction
from tsnn_uq.coding import Coding

__all__ = ["MASK_MODES", "StochasticLayer", "draw_masks", "set_generator"]

MASK_MODES = ("fixed", "per-step")


def draw_masks(shape: Sequence[int], p: float, generators: Sequence[torch.Generator], like: Tensor) -> Tensor:
    """Draw one keep-mask for each generator, rescaled so that its mean is one.

    Entries are 0 with probability `p` and 1 / (1 - p) otherwise ("inverted" dropout, Srivastava et al., 2014).

    Args:
        shape: shape of one mask.
        p: probability of a zero, 0 <= p < 1.
        generators: G generators, possibly with repetitions.
        like: a tensor with the dtype and device of the masks.

    Returns:
        Masks `[G, *shape]`.
    """
    masks = like.new_empty(len(generators), *shape)
    for mask, generator in zip(masks, generators, strict=True):
        mask.uniform_(generator=generator)
    return masks.ge_(p).mul_(1 / (1 - p))


class StochasticLayer(nn.Module):
    """Base class of our layers that draw random numbers.

    The batch axis is split into ``len(generators)`` equal groups, in order; each group draws from its own generator.
    Training uses one generator. Monte Carlo prediction folds S samples into the batch and uses S generators.

    Attributes:
        p: probability with which a unit or a weight is dropped.
        mask: ``"fixed"`` over the time steps of a sample, or redrawn ``"per-step"``.
        generators: where the masks come from; see `set_generator`.
    """

    p: float
    mask: str
    generators: tuple[torch.Generator, ...] = ()

    def set_masks(self, p: float, mask: str) -> None:
        """Set the dropout probability and the mask mode."""
        check_fraction("p", p, below_one=True)
        check_choice("mask", mask, MASK_MODES)
        self.p, self.mask = p, mask

    def begin(self, generators: Sequence[torch.Generator]) -> None:
        """Draw from `generators`, starting with the next pass."""
        self.generators = tuple(generators)

    @property
    def active(self) -> bool:
        """Whether a forward pass is currently random."""
        return self.training and self.p > 0

    def group_size(self, batch: int) -> int:
        """Inputs in each generator's group, for a batch axis of length `batch`.

        Raises:
            InputError: there is no generator, or the groups are not equal.
        """
        if not self.generators:
            raise InputError(
                f"generator: {type(self).__name__} draws random masks; "
                "expected set_generator(model, torch.Generator().manual_seed(...)) first; got none"
            )
        if batch % len(self.generators):
            raise InputError(f"batch: expected a multiple of the {len(self.generators)} generators; got {batch}")
        return batch // len(self.generators)

    def extra_repr(self) -> str:
        """Parameters, for ``print(network)``."""
        return f"p={self.p}, mask={self.mask}"


def set_generator(model: nn.Module, *generators: torch.Generator) -> None:
    """Let every stochastic layer and every random input coding of `model` draw from `generators`.

    Args:
        model: any module; layers of other libraries are not touched.
        generators: one for the whole batch, or G for its G equal parts.
    """
    for module in model.modules():
        if isinstance(module, StochasticLayer):
            module.begin(generators)
        elif isinstance(module, Coding):
            module.generators = generators
