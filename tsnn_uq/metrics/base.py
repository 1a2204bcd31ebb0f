"""What the metric classes share: their options and their running state.

A class holds one of three states: a sum over inputs (`PerInputMetric`), sums over bins (`BinnedMetric`), or everything
it was given (`StoringMetric`). Accumulators are float64, so one batch or many give one number.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities.data import dim_zero_cat

from tsnn_uq.checks import InputError, check_choice
from tsnn_uq.metrics.inputs import Reduction

__all__ = ["PerInputMetric", "StoringMetric", "UncertaintyMetric"]


class UncertaintyMetric(Metric):
    """Ties a class to its `function`: what the function takes as options, the class takes too.

    Args:
        options: of `function`, or of `torchmetrics.Metric`.
    """

    function: ClassVar[Callable[..., Any]]
    is_differentiable: bool | None = False
    higher_is_better: bool | None = False
    full_state_update: bool | None = False

    def __init__(self, **options: Any) -> None:
        known = inspect.signature(type(self).function).parameters
        super().__init__(**{name: value for name, value in options.items() if name not in known})
        self.options = {name: value for name, value in options.items() if name in known}

    def plot(self, val: Any = None, ax: Any = None) -> Any:
        """Draw one value, or the sequence `val` of them, with matplotlib; returns (figure, axes)."""
        return self._plot(val, ax)

    def _require(self, seen: bool) -> None:
        if not seen:
            raise InputError(f"{type(self).__name__}: expected at least one input before compute; got none")


class PerInputMetric(UncertaintyMetric):
    """A number per input, then its mean, sum or none; a subclass names the `function` [S, N, C] -> [N].

    The function also takes `reduction`, `sample_dim` and `validate`. The state is a float64 sum and a count, whatever
    the number of inputs; with ``reduction="none"`` all values are kept. `compute` returns float64 (with "none" the
    dtype of the values).

    Args:
        reduction: over all inputs seen: "mean", "sum" or "none".
        sample_dim: the axis of the Monte Carlo samples in [S, N, C].
        validate: False skips the checks of the inputs.
        options: of `function`, or of `torchmetrics.Metric`.
    """

    is_differentiable = True
    higher_is_better: bool | None = None
    plot_lower_bound: float | None = 0.0
    count: Tensor

    def __init__(
        self, *, reduction: Reduction = "mean", sample_dim: int | None = 0, validate: bool = True, **options: Any
    ) -> None:
        super().__init__(**options)
        check_choice("reduction", reduction, ["mean", "sum", "none"])
        self.reduction, self.sample_dim, self.validate = reduction, sample_dim, validate
        # A MetricCollection merges metrics whose states agree in name and, after one batch, in value, as zeros do;
        # so the name tells which quantity is summed.
        self._sum = re.sub(r"\W+", "_", f"{type(self).function.__name__} {self.options}")
        if reduction == "none":
            self.add_state(self._sum, [], dist_reduce_fx="cat")
        else:
            self.add_state(self._sum, torch.tensor(0.0, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("count", torch.tensor(0), dist_reduce_fx="sum")
        self._try_options()

    def _try_options(self) -> None:
        # Bad options fail here, not at the first batch. Any good sample_dim fits, as every axis is two long.
        type(self).function(torch.full((2, 2, 2), 0.5), sample_dim=self.sample_dim, **self.options)

    def update(self, probs: Tensor) -> None:
        """Add the inputs of `probs` [S, N, C]."""
        self._add(probs, sample_dim=self.sample_dim, **self.options)

    def _add(self, *inputs: Tensor, **options: Any) -> None:
        values = type(self).function(*inputs, reduction="none", validate=self.validate, **options)
        state = getattr(self, self._sum)
        if self.reduction == "none":
            state.append(values)
        else:
            setattr(self, self._sum, state + values.sum(0, dtype=torch.float64))
        self.count = self.count + len(values)

    def compute(self) -> Tensor:
        """The reduction over all inputs seen."""
        self._require(bool(self.count))
        state = getattr(self, self._sum)
        if self.reduction == "none":
            return dim_zero_cat(state)
        return state / self.count if self.reduction == "mean" else state


class StoringMetric(UncertaintyMetric):
    """A metric that needs all inputs at once: it keeps every batch, and memory grows with the inputs seen.

    A subclass names its `function` and the tensors it keeps, in the order of the function's arguments.
    """

    names: ClassVar[tuple[str, ...]]

    def __init__(self, *, validate: bool = True, **options: Any) -> None:
        super().__init__(**options)
        self.validate = validate
        for name in self.names:
            self.add_state(name, [], dist_reduce_fx="cat")

    def _keep(self, *tensors: Tensor) -> None:
        for name, tensor in zip(self.names, tensors, strict=True):
            getattr(self, name).append(tensor)

    def compute(self) -> Any:
        """The function of all inputs seen, each batch of which was checked when it came."""
        kept = [getattr(self, name) for name in self.names]
        self._require(all(len(batches) > 0 for batches in kept))
        return type(self).function(*map(dim_zero_cat, kept), **self.options, validate=False)
