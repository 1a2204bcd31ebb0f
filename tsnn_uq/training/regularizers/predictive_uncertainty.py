"""Predictive variance, entropy and mutual information as loss terms, for all inputs or by correctness."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from torch import Tensor

from tsnn_uq.checks import InputError, check_choice, check_fraction, check_positive, class_numbers
from tsnn_uq.metrics.functional import mutual_information, predictive_entropy, predictive_variance
from tsnn_uq.training.regularizers.base import Regularizer

__all__ = [
    "MEASURES",
    "ContrastRegularizer",
    "EntropyRegularizer",
    "InformationRegularizer",
    "VarianceRegularizer",
]

# The reported measures; for the variance, the unbiased estimator, since there are few passes.
MEASURES: dict[str, Callable[..., Tensor]] = {
    "variance": partial(predictive_variance, unbiased=True, validate=False),
    "entropy": partial(predictive_entropy, validate=False),
    "information": partial(mutual_information, validate=False),
}


@dataclass(frozen=True)
class SpreadRegularizer(Regularizer):
    """A measure of the uncertainty of M stochastic passes, mean over inputs.

    Args:
        passes: M.
        share: share of a batch's images that get all passes, above 0.

    Raises:
        InputError: there are too few passes, or the share is out of range.
    """

    passes: int = 2
    share: float = 0.25
    measure: ClassVar[str]

    def __post_init__(self) -> None:
        check_positive("passes", self.passes, integer=True)
        if self.passes < 2 and self.measure != "entropy":
            raise InputError(f"passes: expected at least 2 for the {self.measure}; got {self.passes}")
        check_fraction("share", self.share)
        check_positive("share", self.share)

    def __call__(self, mc_logits: Tensor, target: Tensor) -> Tensor:
        """The measure, a scalar."""
        return MEASURES[self.measure](self.probabilities(mc_logits))


class VarianceRegularizer(SpreadRegularizer):
    """Predictive variance (`tsnn_uq.metrics.functional.predictive_variance`), summed over classes, mean over inputs.

    The unbiased estimator: for M = 2, sum_c (p_1c - p_2c)^2 / 2.
    """

    measure = "variance"


class EntropyRegularizer(SpreadRegularizer):
    """Predictive entropy (nats) of the mean prediction, mean over inputs."""

    measure = "entropy"


class InformationRegularizer(SpreadRegularizer):
    """Mutual information (nats) of prediction and network, mean over inputs.

    With M passes it is at most log M, and biased downward.
    """

    measure = "information"


@dataclass(frozen=True)
class ContrastRegularizer(SpreadRegularizer):
    """A measure of uncertainty u where the mean prediction is right, with the opposite sign where it is wrong.

    (sum over right inputs of u - `wrong` * sum over wrong inputs of u) / N; or, if `balanced`, the difference of the
    means over right and over wrong inputs (0 if there are none). The aim, low uncertainty for right and high
    uncertainty for wrong predictions, is that of Krishnan and Tickoo (2020); see `AccuracyUncertaintyRegularizer` for
    their loss. If balanced, the few wrong inputs of a batch weigh as much as all others, which raises the uncertainty
    of all.

    Args:
        passes: stochastic passes M.
        share: share of a batch's images that get all passes, above 0.
        of: ``"variance"``, ``"entropy"`` or ``"information"``.
        wrong: weight of the wrong inputs; 0 ignores them.
        balanced: use means over right and over wrong inputs instead of sums.

    Raises:
        InputError: the measure is unknown, there are too few passes, or an argument is out of range.
    """

    of: str = "variance"
    wrong: float = 1.0
    balanced: bool = False

    @property
    def measure(self) -> str:  # type: ignore[override]
        """The same as `of`."""
        return self.of

    def __post_init__(self) -> None:
        check_choice("of", self.of, MEASURES)
        if self.wrong:
            check_positive("wrong", self.wrong)
        super().__post_init__()

    def __call__(self, mc_logits: Tensor, target: Tensor) -> Tensor:
        """The difference, a scalar."""
        probs = self.probabilities(mc_logits)
        uncertainty = MEASURES[self.of](probs, reduction="none")
        right = probs.detach().mean(0).argmax(-1) == class_numbers("target", target)
        counts = [where.sum().clamp_min(1) if self.balanced else len(right) for where in (right, ~right)]
        return (uncertainty * right).sum() / counts[0] - self.wrong * (uncertainty * ~right).sum() / counts[1]
