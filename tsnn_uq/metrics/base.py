"""What the metrics share: reading inputs, reducing over them, and the running state of the classes.

A class holds one of three states: a sum over inputs (`PerInputMetric`), sums over bins (`calibration`), or everything
it was given (`StoringMetric`). Accumulators are float64, so one batch or many give one number.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities.data import dim_zero_cat

from tsnn_uq.checks import InputError, check_choice, check_dims, check_labels, check_probabilities

__all__ = [
    "PerInputMetric",
    "Reduction",
    "StoringMetric",
    "UncertaintyMetric",
    "as_forecast",
    "as_samples",
    "average_ties",
    "check_uncertainty",
    "mean_of_samples",
    "mean_prediction",
    "reduce_inputs",
]

Reduction = Literal["mean", "sum", "none"]


def _at_least_float32(probs: Tensor) -> Tensor:
    return probs.float() if probs.dtype in (torch.float16, torch.bfloat16) else probs


def as_samples(probs: Tensor, sample_dim: int = 0, validate: bool = True) -> Tensor:
    """Monte Carlo probabilities as [S, N, C], in float32 or better, checked unless `validate` is off.

    Raises:
        InputError: wrong number of axes, no samples, or values that are no probabilities.
    """
    if validate:
        check_dims("probs", probs, "[S, N, C]")
        if sample_dim not in range(-3, 3):
            raise InputError(f"sample_dim: expected an axis of [S, N, C] from -3 to 2; got {sample_dim!r}")
        if probs.shape[sample_dim] == 0:
            raise InputError(f"probs: expected at least one sample along axis {sample_dim}; got {list(probs.shape)}")
        check_probabilities("probs", probs.movedim(sample_dim, 0), "[S, N, C]")
    return _at_least_float32(probs.movedim(sample_dim, 0))


def as_forecast(probs: Tensor, target: Tensor, validate: bool = True) -> tuple[Tensor, Tensor]:
    """Probabilities [N, C] in float32 or better and labels [N] as int64, checked unless `validate` is off."""
    if validate:
        check_probabilities("probs", probs)
        check_labels("target", target, classes=probs.shape[-1], count=len(probs))
    return _at_least_float32(probs), target.long()


def check_uncertainty(argument: str, uncertainty: Tensor) -> None:
    """Raise unless `uncertainty` is a vector without NaN; infinities are ranked like any other value."""
    check_dims(argument, uncertainty, "[N]")
    if uncertainty.isnan().any():
        raise InputError(f"{argument}: expected numbers that can be ranked; got {int(uncertainty.isnan().sum())} NaN")


def mean_of_samples(samples: Tensor) -> Tensor:
    """Mean over the first axis; exactly the sample itself where all samples agree, which a plain mean is not."""
    return samples[0] + (samples - samples[0]).mean(0)


def mean_prediction(probs: Tensor, sample_dim: int | None, validate: bool = True) -> Tensor:
    """The mean over samples [N, C] of [S, N, C]; without a `sample_dim`, `probs` [N, C] itself."""
    return probs if sample_dim is None else mean_of_samples(as_samples(probs, sample_dim, validate))


def reduce_inputs(values: Tensor, reduction: Reduction) -> Tensor:
    """Mean, sum (both accumulated in float64) or nothing over the inputs, the first axis of `values`.

    Raises:
        InputError: an unknown reduction, or the mean of no inputs.
    """
    check_choice("reduction", reduction, ["mean", "sum", "none"])
    if reduction == "none":
        return values
    total = values.sum(0, dtype=torch.float64)
    if reduction == "mean":
        if len(values) == 0:
            raise InputError("probs: expected at least one input to take a mean over; got none (N = 0)")
        total = total / len(values)
    return total.to(values.dtype)


def average_ties(keys: Tensor, values: Tensor) -> Tensor:
    """`values` [N] with each one replaced by the float64 mean over the inputs of equal `keys` [N].

    Whatever is then cumulated in the order of the keys no longer hangs on the order of the rows; a cumulated sum
    is its expectation over all orders of the tied inputs.
    """
    group = torch.unique(keys, return_inverse=True)[1]
    return (torch.bincount(group, values.double()) / torch.bincount(group))[group]


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

    The state is a float64 sum and a count, whatever the number of inputs; with ``reduction="none"`` all values are
    kept. `compute` returns float64 (with "none" the dtype of the values).

    Args:
        reduction: over all inputs seen: "mean", "sum" or "none".
        sample_dim: the axis of the Monte Carlo samples in [S, N, C].
        validate: False skips the checks of the inputs.
        options: of `function`, or of `torchmetrics.Metric`.
    """

    is_differentiable = True
    higher_is_better = None
    plot_lower_bound = 0.0
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
