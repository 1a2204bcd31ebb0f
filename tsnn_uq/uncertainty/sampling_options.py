"""The sampling options that `mc_predict` and `mc_moments` share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

import torch
from torch import Tensor, nn

from tsnn_uq.checks import InputError, check_choice, check_positive, describe
from tsnn_uq.seeds import drawn_seed
from tsnn_uq.uncertainty.stochastic_layer import MASK_MODES

__all__ = ["SAMPLES", "Networks", "Options", "Output", "Sampling"]

SAMPLES = 32

Networks = nn.Module | Sequence[nn.Module]
Output = Callable[[Any], Tensor]


class Options(TypedDict, total=False):
    """The arguments that every Monte Carlo prediction takes."""

    samples: int | None
    generator: torch.Generator | None
    mask: str | None
    batch_dim: int
    batch_size: int
    memory_limit: int
    output: Output | None
    reset: Callable[[nn.Module], object]
    progress: Callable[[int], object] | None


@dataclass(frozen=True)
class Sampling:
    """The options of a Monte Carlo prediction, described in `tsnn_uq.uncertainty.mc_predict`.

    Raises:
        InputError: an option is out of range.
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
            InputError: there is no generator.
        """
        if self.generator is None:
            raise InputError(
                "generator: expected torch.Generator().manual_seed(...), since samples are drawn; got None"
            )
        return drawn_seed(self.generator)
