"""What a regularizer is, and the weighted sum of several."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

from torch import Generator, Tensor, nn

from tsnn_uq.checks import InputError, check_positive, describe
from tsnn_uq.training.layout import Forward

__all__ = ["Regularizer", "WeightedSum"]


class Regularizer:
    """Adds nothing, from one pass: the base of all regularizers.

    Most are functions of the stochastic logits alone: ``loss = loss + regularizer(mc_logits, target)``. One that needs
    more overrides `term`, which the trainer calls and which is given all there is (see
    `tsnn_uq.training.forward_batch`).

    Attributes:
        passes: stochastic forward passes M that it wants.
        share: share of a batch's images, at least, that get all passes; the others get one.
        extra_share: inputs of its own, as a share of the batch's images; see `extra_inputs`.
    """

    passes = 1
    share: float = 0.25
    extra_share: float = 0.0

    def __call__(self, mc_logits: Tensor, target: Tensor) -> Tensor:
        """The term to add to the loss, before its weight.

        Args:
            mc_logits: logits [M, N, C] of M stochastic passes.
            target: labels [N].
        """
        return mc_logits.new_zeros(())

    def term(self, forward: Forward) -> Tensor:
        """The term of a whole forward pass: of all passes over the first images, or of one pass over all."""
        logits = forward.mc_logits if self.passes > 1 else forward.first_logits[None]
        return self(logits, forward.target[: logits.shape[1]])

    def extra_inputs(self, images: Tensor, generator: Generator) -> Tensor:
        """Inputs to append to the batch of images [N, ...]; `term` finds their logits in ``forward.extra_logits``."""
        return images[:0]

    def watch(self, model: nn.Module) -> AbstractContextManager[Any]:
        """Context around the forward pass; `term` finds what it gave in ``forward.seen``."""
        return nullcontext()

    def probabilities(self, mc_logits: Tensor) -> Tensor:
        """Softmax of `mc_logits`, checked to have `passes` samples."""
        if mc_logits.dim() != 3 or len(mc_logits) < self.passes:
            raise InputError(f"mc_logits: expected shape [M, N, C] with M >= {self.passes}; got {describe(mc_logits)}")
        return mc_logits.softmax(-1)

    def __repr__(self) -> str:
        options = ", ".join(f"{name}={value!r}" for name, value in vars(self).items())
        return f"{type(self).__name__}({options})"


class WholePassRegularizer(Regularizer):
    """One that logits and labels are not enough for."""

    def __call__(self, mc_logits: Tensor, target: Tensor) -> Tensor:
        """Raises: call `term`."""
        remedy = "call term(forward_batch(...)) in place of (mc_logits, target)"
        raise InputError(f"{type(self).__name__}: expected a whole forward pass; got logits alone; {remedy}")


@dataclass(frozen=True)
class WeightedSum(Regularizer):
    """Several regularizers as one: sum of weight * term, from one forward pass.

    One that wants fewer passes, or a smaller share of the images, than the others gets what they get.

    Args:
        parts: pairs of a weight above 0 and a regularizer.

    Raises:
        InputError: nothing to sum, a weight out of range, or two parts with inputs of their own.

    Example:
        >>> from tsnn_uq.training import OutlierExposure, VarianceRegularizer
        >>> both = WeightedSum([(5.0, VarianceRegularizer()), (0.5, OutlierExposure())])
        >>> both.passes, both.extra_share
        (2, 0.25)
    """

    parts: Sequence[tuple[float, Regularizer]]

    def __post_init__(self) -> None:
        if not self.parts:
            raise InputError("parts: expected at least one regularizer; got none")
        for weight, _ in self.parts:
            check_positive("weight", weight)
        if sum(part.extra_share > 0 for _, part in self.parts) > 1:
            raise InputError(f"parts: expected at most one with inputs of its own; got {self.parts!r}")

    @property
    def passes(self) -> int:  # type: ignore[override]
        """The most that a part wants."""
        return max(part.passes for _, part in self.parts)

    @property
    def share(self) -> float:  # type: ignore[override]
        """The most that a part with several passes wants."""
        return max((part.share for _, part in self.parts if part.passes > 1), default=Regularizer.share)

    @property
    def extra_share(self) -> float:  # type: ignore[override]
        """That of the part with inputs of its own."""
        return max(part.extra_share for _, part in self.parts)

    def __call__(self, mc_logits: Tensor, target: Tensor) -> Tensor:
        """The sum, where logits and labels are enough for every part."""
        return sum((weight * part(mc_logits, target) for weight, part in self.parts), mc_logits.new_zeros(()))

    def term(self, forward: Forward) -> Tensor:
        """The sum, each part with what it saw."""
        terms = [
            weight * part.term(replace(forward, seen=seen))
            for (weight, part), seen in zip(self.parts, forward.seen, strict=True)
        ]
        return sum(terms, forward.mc_logits.new_zeros(()))

    def extra_inputs(self, images: Tensor, generator: Generator) -> Tensor:
        """Those of the part that has some."""
        return next(part for _, part in self.parts if part.extra_share > 0).extra_inputs(images, generator)

    @contextmanager
    def watch(self, model: nn.Module) -> Iterator[list[Any]]:
        """Context of all parts; gives a list of what each gives."""
        with ExitStack() as stack:
            yield [stack.enter_context(part.watch(model)) for _, part in self.parts]
