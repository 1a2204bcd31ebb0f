"""What a regularizer is, and the weighted sum of several."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import torch
from torch import Generator, Tensor, nn

from tsnn_uq.checks import InputError, check_fraction, check_positive, describe
from tsnn_uq.training.batch_layout import Forward

__all__ = ["Regularizer", "WeightedSum"]


class Regularizer:
    """Adds nothing, from one pass: the base of all regularizers.

    Every one of them gives ``regularizer.term(forward)``, where `forward` is what `tsnn_uq.training.forward_batch`
    returns; see there for the loss. Most are functions of the stochastic logits alone, and also give
    ``regularizer(mc_logits, target)`` of logits that come from elsewhere; one that needs more overrides `term`.

    Attributes:
        passes: stochastic forward passes M that it wants.
        share: share of a batch's images, at least, that get all passes; the others get one.
        extra_share: inputs of its own, as a share of the batch's images; see `extra_inputs`.
        extra_everywhere: whether each of them gets all passes, or one.
    """

    passes = 1
    share: float = 0.25
    extra_share: float = 0.0
    extra_everywhere: bool = False

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

    @property
    def kinds(self) -> int:
        """How many tensors `extras` gives."""
        return int(self.extra_share > 0)

    def extra_inputs(self, images: Tensor, generator: Generator) -> Tensor:
        """Inputs to append to the batch of images [N, ...]; `term` finds their logits in ``forward.extra_logits``."""
        return images[:0]

    def extras(self, images: Tensor, generator: Generator, passes: int) -> list[Tensor]:
        """What of `extra_inputs` goes into a batch of so many passes, one tensor; none where there are none.

        Its length is a multiple of `passes`: each input gets one pass, or, with `extra_everywhere`, stands there once
        for each pass.
        """
        if not self.extra_share:
            return []
        extra = self.extra_inputs(images, generator)
        return [torch.cat([extra] * passes) if self.extra_everywhere else extra[: len(extra) // passes * passes]]

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
        remedy = "take regularizer.term(forward_batch(model, images, target, regularizer, seed=..., step=...))"
        raise InputError(f"{type(self).__name__}: expected a whole forward pass; got logits alone ({remedy})")


class LayersRegularizer(WholePassRegularizer):
    """A mean over images and layers: its `watch` gives, for each layer and run, the value of each row [R]."""

    def term(self, forward: Forward) -> Tensor:
        """The mean, a scalar; of images alone."""
        runs = forward.layout.rows // len(forward.seen[0])
        layers = len(forward.seen) // runs
        rows = torch.cat([torch.stack(forward.seen[run * layers :][:layers], 1) for run in range(runs)])  # [R, layers]
        repeated, single, _ = forward.layout.split(rows)
        return torch.cat([repeated.flatten(0, 1), single]).mean()


class OwnInputsRegularizer(WholePassRegularizer):
    """One with inputs that it makes of the batch's images, `extra_share` of them; a base for dataclasses."""

    def __post_init__(self) -> None:
        check_fraction("extra_share", self.extra_share)
        check_positive("extra_share", self.extra_share)

    def make_inputs(self, images: Tensor, generator: Generator) -> Tensor:
        """Inputs made of images [k, ...], as many; raises `InputError` if they are no images."""
        raise NotImplementedError

    def extra_inputs(self, images: Tensor, generator: Generator) -> Tensor:
        """Those of the batch's first images."""
        return self.make_inputs(images[: math.ceil(self.extra_share * len(images))], generator)


@dataclass(frozen=True)
class WeightedSum(Regularizer):
    """Several regularizers as one: sum of weight * term, from one forward pass.

    One that wants fewer passes, or a smaller share of the images, than the others gets what they get.

    Args:
        parts: pairs of a weight above 0 and a regularizer.

    Raises:
        InputError: nothing to sum, or a weight out of range.

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
        """That of all parts together."""
        return sum(part.extra_share for _, part in self.parts)

    @property
    def kinds(self) -> int:
        """Those of all parts together."""
        return sum(part.kinds for _, part in self.parts)

    def __call__(self, mc_logits: Tensor, target: Tensor) -> Tensor:
        """The sum, where logits and labels are enough for every part."""
        return sum((weight * part(mc_logits, target) for weight, part in self.parts), mc_logits.new_zeros(()))

    def term(self, forward: Forward) -> Tensor:
        """The sum, each part with what it saw."""
        extras, terms = iter(forward.extras), []
        for (weight, part), seen in zip(self.parts, forward.seen, strict=True):
            own = tuple(islice(extras, part.kinds))
            terms.append(weight * part.term(replace(forward, extras=own, seen=seen)))
        return sum(terms, forward.mc_logits.new_zeros(()))

    def extras(self, images: Tensor, generator: Generator, passes: int) -> list[Tensor]:
        """Those of all parts, in their order."""
        return [extra for _, part in self.parts for extra in part.extras(images, generator, passes)]

    @contextmanager
    def watch(self, model: nn.Module) -> Iterator[list[Any]]:
        """Context of all parts; gives a list of what each gives."""
        with ExitStack() as stack:
            yield [stack.enter_context(part.watch(model)) for _, part in self.parts]
