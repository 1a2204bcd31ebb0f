"""Evaluate a stopping rule on test inputs: the steps it saves, and the accuracy it loses."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torchmetrics import Metric

from tsnn_uq.checks import InputError, check_labels
from tsnn_uq.metrics.base import UncertaintyMetric
from tsnn_uq.metrics.input_checks import mean_of_samples
from tsnn_uq.metrics.over_time import with_samples
from tsnn_uq.stopping.base import StoppingRule

__all__ = ["StoppingPoints", "StoppingSummary", "stopping_summary"]


class StoppingPoints(NamedTuple):
    """Steps, accuracy and set sizes of stopped inputs; float64 scalars unless stated otherwise."""

    mean_steps: Tensor  #: mean number of time steps
    saved: Tensor  #: share of the T steps of all inputs that were not taken
    accuracy: Tensor  #: share of inputs whose decision is right
    full_accuracy: Tensor  #: share of inputs that are right after step T
    accuracy_gap: Tensor  #: share of inputs that are right after step T and whose decision is wrong
    coverage: Tensor  #: share of sets that hold the true class
    mean_size: Tensor  #: mean number of classes in a set
    stopped: Tensor  #: share of inputs that stopped by each step [T]
    gap_by_step: Tensor  #: accuracy gap of the inputs that stopped by each step [T]; NaN where none did


def _table(probs: Tensor, target: Tensor, rule: StoppingRule, validate: bool) -> Tensor:
    """Sums by step of stopping, float64 [T, 6]: inputs, right, right after T, lost, covered, and sizes of sets."""
    stopped = rule.stop(probs, validate=validate)
    if validate:
        check_labels("target", target, classes=stopped.sets.shape[-1], count=len(stopped.steps))
    runs = with_samples(probs)
    target = target.long()
    right, full = stopped.decisions == target, mean_of_samples(runs[:, -1].double()).argmax(-1) == target
    covered = stopped.sets.gather(1, target[:, None])[:, 0]
    parts = [torch.ones_like(right), right, full, full & ~right, covered, stopped.sets.sum(-1)]
    columns = torch.stack([part.double() for part in parts], dim=-1)
    return columns.new_zeros(runs.shape[1], len(parts)).index_add_(0, stopped.steps - 1, columns)


def _points(table: Tensor) -> StoppingPoints:
    inputs = table[:, 0].sum()
    if not inputs:
        raise InputError("probs: expected at least one input; got none (N = 0)")
    numbers = torch.arange(1, len(table) + 1, device=table.device)
    mean_steps = (table[:, 0] * numbers).sum() / inputs
    count, gap = table[:, 0].cumsum(0), table[:, 3].cumsum(0)
    means = table[:, 1:].sum(0) / inputs
    return StoppingPoints._make([mean_steps, 1 - mean_steps / len(table), *means, count / inputs, gap / count])


def stopping_summary(probs: Tensor, target: Tensor, rule: StoppingRule, *, validate: bool = True) -> StoppingPoints:
    """Apply a stopping rule to test inputs and compare with all T steps.

    Args:
        probs: predictions after each step [T, N, C] or [S, T, N, C], of the kind that `rule` was calibrated on.
        target: class numbers [N].
        rule: a rule fitted on other inputs.
        validate: False skips the checks of the inputs.

    Returns:
        `StoppingPoints`.

    Raises:
        InputError: `probs` or `target` are invalid, `rule` is not fitted, or there are no inputs.

    Example:
        >>> from tsnn_uq.stopping import ConformalStopping
        >>> probs = torch.tensor([[0.6, 0.4], [0.9, 0.1]])[:, None].repeat(1, 30, 1)
        >>> labels = torch.zeros(30, dtype=torch.long)
        >>> stopping_summary(probs, labels, ConformalStopping().fit(probs, labels)).saved
        tensor(0.5000, dtype=torch.float64)
    """
    return _points(_table(probs, target, rule, validate))


class StoppingSummary(UncertaintyMetric):
    """Running `stopping_summary`; six sums are kept for each time step.

    Args:
        rule: a fitted rule.
        validate: False skips the checks of the inputs.
        options: of `torchmetrics.Metric`.
    """

    function = staticmethod(stopping_summary)
    higher_is_better = None
    plot = Metric.plot  # several numbers
    table: Tensor

    def __init__(self, rule: StoppingRule, *, validate: bool = True, **options: Any) -> None:
        super().__init__(**options)
        if rule.steps is None:
            raise InputError("rule: expected a fitted rule; call fit on held-out predictions first")
        self.rule, self.validate = rule, validate
        self.add_state("table", torch.zeros(rule.steps, 6, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, probs: Tensor, target: Tensor) -> None:
        """Add `probs` [T, N, C] or [S, T, N, C] and `target` [N]."""
        self.table = self.table + _table(probs, target, self.rule, self.validate)

    def compute(self) -> StoppingPoints:
        """The points of all inputs seen."""
        self._require(bool(self.table.any()))
        return _points(self.table)
