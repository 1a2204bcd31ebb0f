"""McNemar's test: do two models err equally often on the same inputs?"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torchmetrics import Metric

from tsnn_uq.checks import InputError, check_dims, describe
from tsnn_uq.metrics.base import UncertaintyMetric

__all__ = ["McnemarResult", "McnemarTest", "mcnemar_test"]


class McnemarResult(NamedTuple):
    """The result of McNemar's test."""

    p_value: Tensor  #: two-sided, a float64 scalar
    only_first: Tensor  #: number of inputs that only the first model classifies correctly, int64
    only_second: Tensor  #: number of inputs that only the second model classifies correctly, int64


def _check_pair(first_correct: Tensor, second_correct: Tensor) -> None:
    for name, correct in [("first_correct", first_correct), ("second_correct", second_correct)]:
        check_dims(name, correct, "[N]")
        if ((correct != 0) & (correct != 1)).any():
            raise InputError(f"{name}: expected True or False (1 or 0) per input; got {describe(correct)} with others")
    if len(first_correct) != len(second_correct):
        lengths = f"{len(first_correct)} and {len(second_correct)}"
        raise InputError(f"second_correct: expected the same inputs as first_correct; got {lengths} of them")


def _discordant(first_correct: Tensor, second_correct: Tensor, validate: bool) -> Tensor:
    """Numbers of inputs that only the first, and only the second, model classifies correctly, int64 [2]."""
    if validate:
        _check_pair(first_correct, second_correct)
    first, second = first_correct.bool(), second_correct.bool()
    return torch.stack([(first & ~second).sum(), (second & ~first).sum()])


def _result(counts: Tensor, mid_p: bool = False) -> McnemarResult:
    fewer, total = int(counts.min()), int(counts.sum())
    # C(n, k) for k = 0, ..., n // 2 relative to the largest: products of ratios below 1 neither overflow nor cancel.
    k = torch.arange(total // 2, 0, -1, dtype=torch.float64)
    chances = torch.cat([k.new_ones(1), (k / (total - k + 1)).cumprod(0)]).flip(0)
    chances /= 2 * chances.sum() - (chances[-1] if total % 2 == 0 else 0)  # the other half; an even n has one middle
    two_sided = 2 * float(chances[: fewer + 1].sum()) - (float(chances[fewer]) if mid_p else 0.0)
    return McnemarResult(torch.tensor(min(1.0, two_sided), dtype=torch.float64, device=counts.device), *counts)


def mcnemar_test(
    first_correct: Tensor, second_correct: Tensor, *, mid_p: bool = False, validate: bool = True
) -> McnemarResult:
    r"""Exact test of equal accuracy of two classifiers, from the inputs on which they differ.

    .. math:: p = \min\Big(1, \, 2 \sum_{k=0}^{\min(b, c)} \binom{b + c}{k} 2^{-(b + c)}\Big)

    where b inputs are correct only for the first and c only for the second classifier. If the accuracies are equal,
    each of the b + c inputs is equally likely to be of either kind (McNemar 1947). p is 1 if the models never differ.

    Args:
        first_correct: whether the first model is right [N]: bool, or 0 and 1.
        second_correct: the same for the second model.
        mid_p: count only half the probability of the observed counts, which makes the test less conservative (Fagerland
            et al. 2013).
        validate: False skips the checks of the inputs.

    Returns:
        `McnemarResult`.

    Raises:
        InputError: the inputs are not [N] of equal length, or hold other values.

    Example:
        >>> mcnemar_test(torch.tensor([1, 1, 1, 1, 1, 0]), torch.tensor([0, 0, 0, 0, 0, 0])).p_value
        tensor(0.0625, dtype=torch.float64)
    """
    return _result(_discordant(first_correct, second_correct, validate), mid_p)


class McnemarTest(UncertaintyMetric):
    """Running `mcnemar_test`; two counts are kept.

    Args:
        validate: False skips the checks of the inputs.
        options: of `mcnemar_test`, or of `torchmetrics.Metric`.
    """

    function = staticmethod(mcnemar_test)
    higher_is_better = None
    plot = Metric.plot  # the value is several numbers
    counts: Tensor
    count: Tensor

    def __init__(self, *, validate: bool = True, **options: Any) -> None:
        super().__init__(**options)
        self.validate = validate
        self._add_states({"counts": torch.zeros(2, dtype=torch.long), "count": torch.tensor(0)}, {}, validate=validate)

    def update(self, first_correct: Tensor, second_correct: Tensor) -> None:
        """Add `first_correct` [N] and `second_correct` [N]."""
        self.counts = self.counts + _discordant(first_correct, second_correct, self.validate)
        self.count = self.count + len(first_correct)

    def compute(self) -> McnemarResult:
        """The test on all inputs seen."""
        self._require(bool(self.count))
        return _result(self.counts, **self.options)
