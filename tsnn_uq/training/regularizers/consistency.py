"""Consistency: two draws of the network should agree, above all on what is hard."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Generator, Tensor

from tsnn_uq.checks import InputError, check_choice, check_fraction, check_positive
from tsnn_uq.data.warps import warped
from tsnn_uq.training.layout import Forward
from tsnn_uq.training.regularizers.base import WholePassRegularizer
from tsnn_uq.training.regularizers.spread import MEASURES

__all__ = ["ConsistencyRegularizer"]


@dataclass(frozen=True)
class ConsistencyRegularizer(WholePassRegularizer):
    """How far stochastic passes over warped images are apart, mean over inputs; no label is used.

    A network soon knows its training images by heart, and then its passes agree on them: there is nothing left to
    learn agreement from. Turned, scaled, sheared and moved (`tsnn_uq.data.warps`), the same images are as hard as new
    ones. That two draws of the network should agree on a changed image is the idea of Sajjadi, Javanmardi and Tasdizen
    (2016) and of Laine and Aila (2017); here both draws see the same changed image, so that it is the network's own
    disagreement that is learned from. Images only, no events.

    Args:
        of: ``"information"``, the mutual information of prediction and network (nats), or ``"variance"``.
        passes: stochastic passes M.
        extra_share: warped images, as a share of the batch's images, above 0.

    Raises:
        InputError: unknown measure, too few passes, or a share out of range.
    """

    of: str = "information"
    passes: int = 2
    share: float = 0.0
    extra_share: float = 0.25
    extra_everywhere: bool = True

    def __post_init__(self) -> None:
        check_choice("of", self.of, ("information", "variance"))
        check_positive("passes", self.passes, integer=True)
        if self.passes < 2:
            raise InputError(f"passes: expected at least two, which may agree; got {self.passes}")
        check_fraction("extra_share", self.extra_share)
        check_positive("extra_share", self.extra_share)

    def extra_inputs(self, images: Tensor, generator: Generator) -> Tensor:
        """The warped images; raises `InputError` if the inputs are not images."""
        return warped(images[: math.ceil(self.extra_share * len(images))], generator)

    def term(self, forward: Forward) -> Tensor:
        """The measure, a scalar; 0 without images."""
        if len(forward.extra_logits) == 0:
            return forward.mc_logits.new_zeros(())
        passes = forward.extra_logits.unflatten(0, (forward.layout.passes, -1))
        return MEASURES[self.of](passes.softmax(-1))
