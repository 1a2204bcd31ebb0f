"""Base classes of regularizers, and the weighted sum of several."""

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

__all__ = ["MorePasses", "Regularizer", "WeightedSum"]


class Regularizer:
    """Base class of all regularizers; its term is zero, from one pass.

    Every regularizer has ``regularizer.term(forward)``, where `forward` is the result of
    `tsnn_uq.training.forward_batch`. Most depend only on the stochastic logits and can also be called as
    ``regularizer(mc_logits, target)``; one that needs more overrides `term`.

    Attributes:
        passes: number of stochastic forward passes M.
        share: minimum share of a batch's images that get all passes; the others get one.
        extra_share: number of extra inputs, as a share of the batch's images; see `extra_inputs`.
        extra_everywhere: whether each extra input gets all passes, or one.
    """

    passes = 1
    share: float = 0.25
    extra_share: float = 0.0
    extra_everywhere: bool = False

    def __call__(self, mc_logits: Tensor, target: Tensor) -> Tensor:
        """The unweighted term of the loss.

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
        """Number of tensors that `extras` returns."""
        return int(self.extra_share > 0)

    def extra_inputs(self, images: Tensor, generator: Generator) -> Tensor:
        """Inputs to append to the batch of images [N, ...]; `term` finds their logits in ``forward.extra_logits``."""
        return images[:0]

    def extras(self, images: Tensor, generator: Generator, passes: int) -> list[Tensor]:
        """The rows of `extra_inputs` for a batch of `passes` passes, as one tensor, or none.

        Its length is a multiple of `passes`: each input gets one pass, or, with `extra_everywhere`, is repeated for
        each pass.
        """
        if not self.extra_share:
            return []
        extra = self.extra_inputs(images, generator)
        return [torch.cat([extra] * passes) if self.extra_everywhere else extra[: len(extra) // passes * passes]]

    def watch(self, model: nn.Module) -> AbstractContextManager[Any]:
        """Context around the forward pass; its value is passed to `term` as ``forward.seen``."""
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
    """Base class of regularizers that need more than logits and labels."""

    def __call__(self, mc_logits: Tensor, target: Tensor) -> Tensor:
        """Raise an error, since the regularizer needs a whole forward pass: use `term`."""
        remedy = "use regularizer.term(forward_batch(model, images, target, regularizer, seed=..., step=...))"
        raise InputError(f"{type(self).__name__}: expected a whole forward pass; got only logits ({remedy})")


class LayersRegularizer(WholePassRegularizer):
    """Base class of means over images and layers; its `watch` records a value per row [R] for each layer and run."""

    def term(self, forward: Forward) -> Tensor:
        """The mean over images, a scalar."""
        runs = forward.layout.rows // len(forward.seen[0])
        layers = len(forward.seen) // runs
        rows = torch.cat([torch.stack(forward.seen[run * layers :][:layers], 1) for run in range(runs)])  # [R, layers]
        repeated, single, _ = forward.layout.split(rows)
        return torch.cat([repeated.flatten(0, 1), single]).mean()


class OwnInputsRegularizer(WholePassRegularizer):
    """Base class of regularizers with extra inputs made from the batch's images, for dataclasses."""

    def __post_init__(self) -> None:
        check_fraction("extra_share", self.extra_share)
        check_positive("extra_share", self.extra_share)

    def make_inputs(self, images: Tensor, generator: Generator) -> Tensor:
        """One input made from each of the images [k, ...]; raises `InputError` if they are not images."""
        raise NotImplementedError

    def extra_inputs(self, images: Tensor, generator: Generator) -> Tensor:
        """Inputs made from the batch's first images."""
        return self.make_inputs(images[: math.ceil(self.extra_share * len(images))], generator)


@dataclass(frozen=True)
class MorePasses(Regularizer):
    """A part of a `WeightedSum` whose term is zero, but which gives all other parts more stochastic passes.

    Args:
        passes: number of passes M.
    """

    passes: int
    share = 0.0  # no image needs them for its own sake


@dataclass(frozen=True)
class WeightedSum(Regularizer):
    """Weighted sum of several regularizers, from one forward pass.

    Each part gets the largest number of passes and the largest share of images that any part needs.

    Args:
        parts: pairs of a weight above 0 and a regularizer.

    Raises:
        InputError: there are no parts, or a weight is out of range.

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
        """The maximum over the parts."""
        return max(part.passes for _, part in self.parts)

    @property
    def share(self) -> float:  # type: ignore[override]
        """The maximum over the parts with several passes."""
        return max((part.share for _, part in self.parts if part.passes > 1), default=Regularizer.share)

    @property
    def extra_share(self) -> float:  # type: ignore[override]
        """The sum over all parts."""
        return sum(part.extra_share for _, part in self.parts)

    @property
    def kinds(self) -> int:
        """The sum over all parts."""
        return sum(part.kinds for _, part in self.parts)

    def __call__(self, mc_logits: Tensor, target: Tensor) -> Tensor:
        """The sum, if logits and labels suffice for every part."""
        return sum((weight * part(mc_logits, target) for weight, part in self.parts), mc_logits.new_zeros(()))

    def term(self, forward: Forward) -> Tensor:
        """The sum; each part gets its own record."""
        extras, terms = iter(forward.extras), []
        for (weight, part), seen in zip(self.parts, forward.seen, strict=True):
            own = tuple(islice(extras, part.kinds))
            terms.append(weight * part.term(replace(forward, extras=own, seen=seen)))
        return sum(terms, forward.mc_logits.new_zeros(()))

    def extras(self, images: Tensor, generator: Generator, passes: int) -> list[Tensor]:
        """The extra inputs of all parts, in their order."""
        return [extra for _, part in self.parts for extra in part.extras(images, generator, passes)]

    @contextmanager
    def watch(self, model: nn.Module) -> Iterator[list[Any]]:
        """Context of all parts; its value is the list of their values."""
        with ExitStack() as stack:
            yield [stack.enter_context(part.watch(model)) for _, part in self.parts]
