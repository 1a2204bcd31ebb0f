"""Bootstrap confidence interval of the difference between two models on the same inputs."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities.data import dim_zero_cat

from tsnn_uq.checks import InputError, check_fraction, check_positive, describe
from tsnn_uq.metrics.base import UncertaintyMetric

__all__ = ["BootstrapInterval", "PairedBootstrap", "paired_bootstrap", "percentile_interval", "resampled_rows"]

_INDICES = 2**21  # drawn at once


class BootstrapInterval(NamedTuple):
    """A difference with its confidence interval, float64; scalars, or the shape of the metric's value."""

    difference: Tensor  #: the metric of the first model minus that of the second
    low: Tensor  #: lower end of the interval
    high: Tensor  #: upper end
    standard_error: Tensor  #: standard deviation of the resampled differences


def _as_arguments(argument: str, inputs: Tensor | Sequence[Tensor], axis: int) -> list[Tensor]:
    """The tensors with their inputs along the first axis."""
    tensors = [inputs] if isinstance(inputs, Tensor) else list(inputs)
    for tensor in tensors:
        if not isinstance(tensor, Tensor) or not -tensor.dim() <= axis < tensor.dim():
            raise InputError(f"{argument}: expected tensors with an axis {axis} of inputs; got {describe(tensor)}")
    return [tensor.movedim(axis, 0) for tensor in tensors]


def _check_lengths(groups: Sequence[Sequence[Tensor]]) -> int:
    lengths = [[len(tensor) for tensor in tensors] for tensors in groups]
    different = {length for group in lengths for length in group}
    if len(different) != 1 or different == {0}:
        found = " and ".join(map(str, filter(None, lengths)))
        raise InputError(f"first, second: expected the same inputs of both models, one or more; got {found} of them")
    return different.pop()


def paired_bootstrap(
    metric: Callable[..., Tensor],
    first: Tensor | Sequence[Tensor],
    second: Tensor | Sequence[Tensor],
    *shared: Tensor,
    generator: torch.Generator,
    input_dim: int = 0,
    resamples: int = 2000,
    level: float = 0.95,
    **options: Any,
) -> BootstrapInterval:
    """Bootstrap percentile interval of the difference of a metric between two models on the same inputs.

    Both models are measured on the same resampled inputs, so inputs that are hard for both cancel (Efron and Tibshirani
    1993, chapters 13 and 8). A metric that is a mean over inputs (one with a `reduction`) is computed once, and its
    values are resampled; any other metric is computed on each resample. The interval covers the choice of *inputs*, not
    the variation over training seeds.

    Args:
        metric: a function of this package, or any that returns a tensor, called as ``metric(*first, *shared)``.
        first: arguments of the metric for the first model: a tensor, or several, such as (uncertainty, correct).
        second: the same for the second model, with the same inputs in the same order.
        shared: arguments for both models, e.g. the labels [N]; the inputs are on the first axis.
        generator: source of the resamples, on the CPU, so that every device draws the same.
        input_dim: the axis of the inputs in `first` and `second`: 0, or 1 of Monte Carlo probabilities [S, N, C].
        resamples: number of resamples.
        level: coverage of the interval, above 0 and below 1.
        options: of the metric.

    Returns:
        `BootstrapInterval`; if it excludes 0, the models differ.

    Raises:
        InputError: the numbers of inputs differ or are zero, an option is out of range, the metric is not finite, or
            it rejects its arguments.

    Example:
        >>> from tsnn_uq.metrics.functional import accuracy
        >>> target = torch.zeros(100, dtype=torch.long)
        >>> good, bad = torch.tensor([[0.9, 0.1]] * 100), torch.tensor([[0.9, 0.1]] * 60 + [[0.2, 0.8]] * 40)
        >>> interval = paired_bootstrap(accuracy, good, bad, target, generator=torch.Generator().manual_seed(0))
        >>> [round(part.item(), 2) for part in interval]
        [0.4, 0.3, 0.5, 0.05]
    """
    check_positive("resamples", resamples, integer=True)
    if resamples == 1:
        raise InputError("resamples: expected at least 2; got 1")
    check_fraction("level", level, below_one=True)
    check_positive("level", level)
    models = [_as_arguments("first", first, input_dim), _as_arguments("second", second, input_dim)]
    count = _check_lengths([*models, list(shared)])
    blocks = resampled_rows(count, resamples, generator, models[0][0].device)
    known = inspect.signature(metric).parameters

    def measure(tensors: list[Tensor], labels: Sequence[Tensor], **more: Any) -> Tensor:
        inputs = (tensor.movedim(0, input_dim) for tensor in tensors)
        return metric(*inputs, *labels, **(options | more)).detach().double()

    if "reduction" in known and options.get("reduction", "mean") == "mean":
        each = measure(models[0], shared, reduction="none") - measure(models[1], shared, reduction="none")
        difference, draws = each.mean(0), torch.cat([each[rows].mean(1) for rows in blocks])
    else:
        unchecked = {"validate": False} if "validate" in known else {}  # the whole is checked once
        difference = measure(models[0], shared) - measure(models[1], shared)
        draws = torch.stack([_on_rows(measure, models, shared, row, unchecked) for block in blocks for row in block])
    if not (difference.isfinite().all() and draws.isfinite().all()):
        raise InputError("metric: expected finite values to take differences of; got infinity or NaN")
    low, high = percentile_interval(draws, level)
    return BootstrapInterval(difference, low, high, draws.std(0))


def percentile_interval(draws: Tensor, level: float) -> tuple[Tensor, Tensor]:
    """Lower and upper end of the bootstrap's percentile interval of draws [R, ...].

    With infinite draws, which cannot be interpolated, each end is the nearest draw.
    """
    ends = torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=draws.dtype, device=draws.device)
    low, high = draws.quantile(ends, dim=0, interpolation="linear" if draws.isfinite().all() else "nearest")
    return low, high


def resampled_rows(count: int, resamples: int, generator: torch.Generator, device: torch.device) -> Iterator[Tensor]:
    """Row numbers of bootstrap resamples of `count` inputs, [resamples, count] in blocks of bounded size."""
    size = max(1, _INDICES // count)
    for start in range(0, resamples, size):
        shape = (min(size, resamples - start), count)
        yield torch.randint(count, shape, generator=generator, device=generator.device).to(device)


def _on_rows(
    measure: Callable[..., Tensor],
    models: list[list[Tensor]],
    shared: Sequence[Tensor],
    rows: Tensor,
    options: dict[str, Any],
) -> Tensor:
    labels = [tensor[rows] for tensor in shared]
    first, second = (measure([tensor[rows] for tensor in model], labels, **options) for model in models)
    return first - second


class PairedBootstrap(UncertaintyMetric):
    """Running `paired_bootstrap` of one tensor per model; all inputs are kept.

    Args:
        metric: a function, as in `paired_bootstrap`.
        seed: seed of the resamples.
        options: of `paired_bootstrap`, of `metric`, or of `torchmetrics.Metric`.
    """

    function = staticmethod(paired_bootstrap)
    higher_is_better = None
    plot = Metric.plot  # the value is several numbers
    first: Any
    second: Any
    target: Any

    def __init__(self, metric: Callable[..., Tensor], *, seed: int = 0, **options: Any) -> None:
        own = {*inspect.signature(paired_bootstrap).parameters, *inspect.signature(metric).parameters}
        super().__init__(**{name: value for name, value in options.items() if name not in own})
        self.metric, self.seed = metric, seed
        self.options = {name: value for name, value in options.items() if name in own}
        input_dim = self.options.get("input_dim", 0)
        self._add_states(dict.fromkeys(("first", "second", "target")), {}, input_dim=input_dim)

    def update(self, first: Tensor, second: Tensor, target: Tensor | None = None) -> None:
        """Keep the arguments of both models, and the labels [N] if the metric takes them."""
        axis = self.options.get("input_dim", 0)
        parts = {"first": _as_arguments("first", first, axis), "second": _as_arguments("second", second, axis)}
        parts["target"] = [] if target is None else [target if target.is_floating_point() else target.long()]
        if len(parts["first"][0]) > 0:  # skip an empty batch
            _check_lengths([*parts.values()])
        for name, part in parts.items():
            getattr(self, name).extend(part)

    def compute(self) -> BootstrapInterval:
        """The interval for all inputs seen."""
        self._require(len(self.first) > 0)
        axis, labels = self.options.get("input_dim", 0), [dim_zero_cat(self.target)] if len(self.target) else []
        first, second = (dim_zero_cat(kept).movedim(0, axis) for kept in (self.first, self.second))
        generator = torch.Generator().manual_seed(self.seed)
        return paired_bootstrap(self.metric, first, second, *labels, generator=generator, **self.options)
