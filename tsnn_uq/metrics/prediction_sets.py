"""Coverage and size of prediction sets, from any method."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from tsnn_uq.checks import InputError, check_dims, check_labels, describe
from tsnn_uq.metrics.base import PerInputMetric
from tsnn_uq.metrics.input_checks import Reduction, reduce_inputs

__all__ = ["SetCoverage", "SetSize", "set_coverage", "set_size"]


def _check_sets(sets: Tensor) -> None:
    check_dims("sets", sets, "[N, C]")
    if sets.dtype != torch.bool:
        raise InputError(f"sets: expected True or False for each class; got {describe(sets)}")


def set_coverage(sets: Tensor, target: Tensor, *, reduction: Reduction = "mean", validate: bool = True) -> Tensor:
    r"""Share of the sets that hold the true class.

    .. math:: \frac1N \sum_n [y_n \in S_n]

    Args:
        sets: whether each class is in the set, bool [N, C], as returned by `conformal_sets`.
        target: class numbers [N].
        reduction: over the inputs: "mean", "sum", or "none" for a value per input [N].
        validate: False skips the checks of the inputs.

    Returns:
        A float64 scalar or [N].

    Raises:
        InputError: `sets` is not bool [N, C], `target` are not labels, or the mean of no inputs is requested.

    Example:
        >>> set_coverage(torch.tensor([[True, True], [False, True]]), torch.tensor([0, 0]))
        tensor(0.5000, dtype=torch.float64)
    """
    if validate:
        _check_sets(sets)
        target = check_labels("target", target, classes=sets.shape[-1], count=len(sets))
    return reduce_inputs(sets.gather(1, target.long()[:, None])[:, 0].double(), reduction)


def set_size(sets: Tensor, *, reduction: Reduction = "mean", validate: bool = True) -> Tensor:
    r"""Mean number of classes in a set.

    .. math:: \frac1N \sum_n |S_n|

    Args and errors are those of `set_coverage`.

    Returns:
        A float64 scalar or [N].

    Example:
        >>> set_size(torch.tensor([[True, True], [False, True]]))
        tensor(1.5000, dtype=torch.float64)
    """
    if validate:
        _check_sets(sets)
    return reduce_inputs(sets.sum(-1).double(), reduction)


class _SetMetric(PerInputMetric):
    is_differentiable = False

    def __init__(self, **options: Any) -> None:
        super().__init__(sample_dim=None, **options)

    def _try_options(self) -> None:
        """The function has no options to validate."""


class SetCoverage(_SetMetric):
    """Running `set_coverage`."""

    function = staticmethod(set_coverage)
    higher_is_better = True
    plot_upper_bound = 1.0

    def update(self, sets: Tensor, target: Tensor) -> None:  # type: ignore[override]
        """Add `sets` [N, C] and `target` [N]."""
        self._add(sets, target)


class SetSize(_SetMetric):
    """Running `set_size`."""

    function = staticmethod(set_size)
    higher_is_better = False

    def update(self, sets: Tensor, target: Tensor | None = None) -> None:
        """Add `sets` [N, C]; `target` is ignored."""
        self._add(sets)
