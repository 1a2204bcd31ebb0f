"""Selective prediction: the error that remains if the most uncertain inputs are rejected.

Inputs are accepted in order of increasing uncertainty. Inputs of equal uncertainty come in random order, and every
value is the expectation over these orders, so the order of the rows does not matter. Values are float64.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torchmetrics import Metric

from tsnn_uq.checks import InputError, check_dims, check_fraction, check_positive, describe
from tsnn_uq.metrics.base import StoringMetric
from tsnn_uq.metrics.input_checks import average_ties, check_uncertainty

__all__ = [
    "AccuracyAtCoverage",
    "CoverageAtRisk",
    "RiskCoverageCurve",
    "RiskCoveragePoints",
    "SelectiveMetric",
    "accuracy_at_coverage",
    "coverage_at_risk",
    "error_counts",
    "ranks_of",
    "risk_coverage_curve",
]


class RiskCoveragePoints(NamedTuple):
    """A risk-coverage curve, [N] each: point k accepts the k + 1 least uncertain inputs."""

    coverage: Tensor  #: share of inputs accepted, (k + 1) / N
    risk: Tensor  #: share of errors among them
    threshold: Tensor  #: uncertainty of the last one accepted


def _check_pair(uncertainty: Tensor, correct: Tensor) -> None:
    check_uncertainty("uncertainty", uncertainty)
    check_dims("correct", correct, "[N]")
    if len(correct) != len(uncertainty):
        raise InputError(f"correct: expected {len(uncertainty)} values, one per input; got {len(correct)}")
    if ((correct != 0) & (correct != 1)).any():
        raise InputError(f"correct: expected True or False (1 or 0) per input; got others in {describe(correct)}")


def error_counts(uncertainty: Tensor, correct: Tensor, validate: bool) -> Tensor:
    """Expected number of errors among the k + 1 least uncertain inputs, float64 [N]."""
    if validate:
        _check_pair(uncertainty, correct)
    if len(uncertainty) == 0:
        raise InputError("uncertainty: expected at least one input; got none (N = 0)")
    return average_ties(uncertainty, 1 - correct.double())[uncertainty.argsort()].cumsum(0)


def ranks_of(errors: Tensor) -> Tensor:
    """1 to N, with the dtype and device of `errors` [N]."""
    return torch.arange(1, len(errors) + 1, dtype=errors.dtype, device=errors.device)


def risk_coverage_curve(uncertainty: Tensor, correct: Tensor, *, validate: bool = True) -> RiskCoveragePoints:
    """Share of errors among the accepted inputs, for every share of inputs accepted.

    See El-Yaniv and Wiener 2010, and Geifman and El-Yaniv 2017, arXiv 1705.08500.

    Args:
        uncertainty: a number per input [N]; only its order matters.
        correct: whether each prediction is right [N]: bool, or 0 and 1.
        validate: False skips the checks of the inputs.

    Returns:
        `RiskCoveragePoints`.

    Raises:
        InputError: an uncertainty is NaN, `correct` has other values or another length, or there are no inputs.

    Example:
        >>> risk_coverage_curve(torch.tensor([0.1, 0.3, 0.2, 0.4]), torch.tensor([1, 1, 0, 0])).risk
        tensor([0.0000, 0.5000, 0.3333, 0.5000], dtype=torch.float64)
    """
    errors = error_counts(uncertainty, correct, validate)
    ranks = ranks_of(errors)
    return RiskCoveragePoints(ranks / len(ranks), errors / ranks, uncertainty.detach().sort().values)


def accuracy_at_coverage(
    uncertainty: Tensor, correct: Tensor, coverage: float = 0.9, *, validate: bool = True
) -> Tensor:
    """Accuracy among the least uncertain inputs that make up a share of `coverage`, rounded up to whole inputs.

    Args and errors are those of `risk_coverage_curve`, with 0 < `coverage` <= 1.

    Example:
        >>> accuracy_at_coverage(torch.tensor([0.1, 0.2, 0.3, 0.4]), torch.tensor([1, 1, 0, 1]), coverage=0.75)
        tensor(0.6667, dtype=torch.float64)
    """
    check_fraction("coverage", coverage)
    check_positive("coverage", coverage)
    errors = error_counts(uncertainty, correct, validate)
    accepted = math.ceil(coverage * len(errors) - 1e-9)  # 0.07 * 100 is a little above 7
    return 1 - errors[accepted - 1] / accepted


def coverage_at_risk(uncertainty: Tensor, correct: Tensor, risk: float = 0.05, *, validate: bool = True) -> Tensor:
    """Largest coverage at which the risk-coverage curve is not above `risk`; 0 if there is none.

    Args and errors are those of `risk_coverage_curve`, with 0 <= `risk` <= 1.

    Example:
        >>> coverage_at_risk(torch.tensor([0.1, 0.2, 0.3, 0.4]), torch.tensor([1, 0, 1, 1]), risk=0.3)
        tensor(1., dtype=torch.float64)
    """
    check_fraction("risk", risk)
    errors = error_counts(uncertainty, correct, validate)
    ranks = ranks_of(errors)
    return (ranks * (errors <= risk * ranks + 1e-9)).max() / len(ranks)


class SelectiveMetric(StoringMetric):
    """Base class that keeps uncertainties and correctness; subclasses set the `function` of both."""

    names = ("uncertainty", "correct")
    plot_lower_bound = 0.0
    plot_upper_bound = 1.0

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        # Validate the options now, not at the first batch.
        type(self).function(torch.zeros(1), torch.ones(1), **self.options)
        self._add_lists()

    def update(self, uncertainty: Tensor, correct: Tensor) -> None:
        """Keep `uncertainty` [N] and `correct` [N]."""
        if self.validate:
            _check_pair(uncertainty, correct)
        self._keep(uncertainty, correct.bool())


class RiskCoverageCurve(SelectiveMetric):
    """`risk_coverage_curve` of all inputs seen, which are kept."""

    function = staticmethod(risk_coverage_curve)
    higher_is_better = None
    plot = Metric.plot  # the value is a curve


class AccuracyAtCoverage(SelectiveMetric):
    """`accuracy_at_coverage` of all inputs seen, which are kept; option `coverage`."""

    function = staticmethod(accuracy_at_coverage)
    higher_is_better = True


class CoverageAtRisk(SelectiveMetric):
    """`coverage_at_risk` of all inputs seen, which are kept; option `risk`."""

    function = staticmethod(coverage_at_risk)
    higher_is_better = True
