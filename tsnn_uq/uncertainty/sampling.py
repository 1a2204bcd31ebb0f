"""How samples are drawn: one set of choices for every Monte Carlo prediction, and its shares for an ensemble."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from tsnn_uq.checks import InputError, check_choice, check_positive, describe
from tsnn_uq.uncertainty.masks import MASK_MODES
from tsnn_uq.uncertainty.stochastic import stochastic_layers

__all__ = ["Networks", "Output", "Sampling", "shares"]

SAMPLES = 32

Networks = nn.Module | Sequence[nn.Module]
Output = Callable[[Any], Tensor]


@dataclass(frozen=True)
class Sampling:
    """The choices that every Monte Carlo prediction offers; `tsnn_uq.uncertainty.mc_predict` says what they mean.

    Attributes:
        random: whether there is something to draw; otherwise one pass is all.

    Raises:
        InputError: a choice that cannot be.
    """

    samples: int | None
    generator: torch.Generator | None
    mask: str | None
    batch_dim: int
    batch_size: int
    memory_limit: int
    output: Output | None
    reset: Callable[[nn.Module], object]
    progress: Callable[[int], object] | None
    random: bool = True

    def __post_init__(self) -> None:
        if self.samples is not None:
            check_positive("samples", self.samples, integer=True)
        check_positive("batch_size", self.batch_size, integer=True)
        check_positive("memory_limit", self.memory_limit)
        if self.mask is not None:
            check_choice("mask", self.mask, MASK_MODES)
        if self.generator is not None and not isinstance(self.generator, torch.Generator):
            raise InputError(f"generator: expected a torch.Generator; got {describe(self.generator)}")

    @property
    def count(self) -> int:
        """S, the number of samples."""
        return SAMPLES if self.samples is None else self.samples

    def seed(self) -> int:
        """A seed for all draws of a network, from one draw of the generator.

        Raises:
            InputError: there is no generator, and something random.
        """
        if not self.random:
            return 0
        if self.generator is None:
            raise InputError(
                "generator: expected torch.Generator().manual_seed(...), since samples are drawn; got None"
            )
        return int(torch.randint(2**62, (), generator=self.generator))


def shares(model: Networks, inputs: Tensor, sampling: Sampling) -> list[tuple[nn.Module, Sampling]]:
    """Each network of an ensemble with its share of the samples: S / M where all are random, one where none is.

    Args:
        model: a network, or M of them.
        inputs: what they take.
        sampling: the choices for all together.

    Raises:
        InputError: no networks, samples that cannot be shared out, or some networks random and some not.
    """
    _check_inputs(inputs, sampling.batch_dim)
    if isinstance(model, nn.Module) and not isinstance(model, nn.ModuleList):
        return [(model, sampling)]
    members = list(model) if isinstance(model, Sequence | nn.ModuleList) else []
    if not members or not all(isinstance(member, nn.Module) for member in members):
        raise InputError(f"model: expected a network or a list of networks; got {describe(model)}")
    random = [bool(stochastic_layers(member)) for member in members]
    if len(set(random)) > 1:
        names = ", ".join(str(i) for i, one in enumerate(random) if not one)
        raise InputError(
            f"model: expected networks that are all random, or none; got some without random layers: {names}"
        )
    each = replace(sampling, samples=_share(len(members), random[0], sampling.samples), random=random[0])
    total = inputs.shape[sampling.batch_dim]
    return [(member, replace(each, progress=_after(i * total, each.progress))) for i, member in enumerate(members)]


def _check_inputs(inputs: Tensor, batch_dim: int) -> None:
    if not isinstance(inputs, Tensor) or not 0 <= batch_dim < inputs.dim() or inputs.shape[batch_dim] == 0:
        raise InputError(f"inputs: expected at least one input along axis {batch_dim}; got {describe(inputs)}")


def _share(members: int, random: bool, samples: int | None) -> int:
    if not random:
        if samples not in (None, members):
            why = "one of each network, since nothing in them is random"
            raise InputError(f"samples: expected {members}, {why}; got {samples}")
        return 1
    if samples is None:
        return -(-SAMPLES // members)
    if samples % members:
        raise InputError(f"samples: expected a multiple of the {members} networks; got {samples}")
    return samples // members


def _after(done: int, progress: Callable[[int], object] | None) -> Callable[[int], object] | None:
    return progress and (lambda more: progress(done + more))
