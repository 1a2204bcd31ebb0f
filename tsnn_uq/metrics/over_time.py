"""Any metric after each time step, and time steps as Monte Carlo samples."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics import Metric
from torchmetrics.wrappers.abstract import WrapperMetric

from tsnn_uq.checks import InputError, check_positive, describe
from tsnn_uq.metrics.input_checks import mean_of_samples

__all__ = ["OverTime", "average_over_time", "over_time", "time_as_samples"]


def with_samples(probs: Tensor) -> Tensor:
    """Predictions over time as [S, T, N, C]; [T, N, C] is one sample.

    Raises:
        InputError: the number of axes is wrong, or there are no samples or time steps.
    """
    if not isinstance(probs, Tensor) or probs.dim() not in (3, 4):
        raise InputError(f"probs: expected a tensor of shape [T, N, C] or [S, T, N, C]; got {describe(probs)}")
    probs = probs if probs.dim() == 4 else probs[None]
    if 0 in probs.shape[:2]:
        raise InputError(f"probs: expected at least one sample and one time step; got {describe(probs)}")
    return probs


def time_as_samples(probs: Tensor) -> Tensor:
    """Treat the predictions of all time steps as Monte Carlo samples: [T, N, C] or [S, T, N, C] -> [S * T, N, C].

    With dropout that draws a new mask at each step, one run over time gives T Monte Carlo samples (Sun et al. 2023,
    arXiv 2304.10191). Pass the predictions from each step's own output; running means are not samples.
    """
    return with_samples(probs).flatten(0, 1)


def average_over_time(probs: Tensor) -> Tensor:
    r"""The average-over-time predictive distribution of Sun et al. 2023 (arXiv 2304.10191).

    .. math:: \bar p = \frac1{ST} \sum_s \sum_t p_{st}

    Args:
        probs: the predictions from each step's own output, [T, N, C] or [S, T, N, C].

    Returns:
        Probabilities [N, C].

    Example:
        >>> average_over_time(torch.tensor([[[1.0, 0.0]], [[0.5, 0.5]]]))
        tensor([[0.7500, 0.2500]])
    """
    return mean_of_samples(time_as_samples(probs))


def _takes_samples(metric: Callable[..., Any]) -> bool:
    """Whether a metric takes Monte Carlo predictions [S, N, C], that is, has a `sample_dim`."""
    if isinstance(metric, Metric):
        return getattr(metric, "sample_dim", None) is not None
    return "sample_dim" in inspect.signature(metric).parameters


def _step(probs: Tensor, step: int, samples: bool, as_samples: bool) -> Tensor:
    """The input of a metric after `step` (from 0) of [S, T, N, C]: [S, N, C], or its mean [N, C]."""
    now = probs[:, : step + 1].flatten(0, 1) if as_samples else probs[:, step]
    return now if samples else mean_of_samples(now)


def _stack(values: list[Any]) -> Any:
    if isinstance(values[0], Tensor):
        return torch.stack(values)
    return type(values[0])(*map(torch.stack, zip(*values, strict=True)))


def over_time(
    metric: Callable[..., Any],
    probs: Tensor,
    target: Tensor | None = None,
    *,
    as_samples: bool = False,
    **options: Any,
) -> Any:
    """Compute a metric of the predictions after each time step: anytime curves.

    A metric with a `sample_dim` receives [S, N, C] after each step, with S = 1 if `probs` has no samples; any other
    metric receives the mean [N, C].

    Args:
        metric: a function of this package, or any other function of [N, C], e.g. `accuracy` or `predictive_entropy`.
        probs: predictions after each step [T, N, C] or [S, T, N, C]; those of `mc_predict` with ``per_step=True``
            come from the running mean of the outputs.
        target: class numbers [N], if the metric takes them.
        as_samples: use the predictions of *all* steps up to t as Monte Carlo samples, [S * t, N, C]; see
            `time_as_samples`.
        options: options of the metric, e.g. ``bins=10`` or ``reduction="none"``.

    Returns:
        [T, ...]: the values after each step, stacked; a tuple if the metric returns several tensors.

    Raises:
        InputError: `probs` have no time axis or no steps, or are invalid for the metric.

    Example:
        >>> from tsnn_uq.metrics.functional import accuracy
        >>> probs = torch.tensor([[[0.4, 0.6], [0.9, 0.1]], [[0.7, 0.3], [0.8, 0.2]]])
        >>> over_time(accuracy, probs, torch.tensor([0, 0]))
        tensor([0.5000, 1.0000])
    """
    probs, samples = with_samples(probs), _takes_samples(metric)
    labels = () if target is None else (target,)
    steps = range(probs.shape[1])
    return _stack([metric(_step(probs, step, samples, as_samples), *labels, **options) for step in steps])


class OverTime(WrapperMetric):
    """A running metric after each of T time steps; `compute` stacks the values of the steps.

    A metric of this package with a `sample_dim` receives [S, N, C] after each step, any other the mean over samples
    [N, C].

    Args:
        metric: a metric of this package, or any other with `update(probs [N, C], target)`; it is copied T times.
        steps: number of time steps T.
        as_samples: as in `over_time`.
        options: of `torchmetrics.Metric`.
    """

    metrics: Any

    def __init__(self, metric: Metric, steps: int, *, as_samples: bool = False, **options: Any) -> None:
        super().__init__(**options)
        check_positive("steps", steps, integer=True)
        self.as_samples = as_samples
        self.metrics = nn.ModuleList(deepcopy(metric) for _ in range(steps))
        self._samples, self._labels = _takes_samples(metric), "target" in inspect.signature(metric.update).parameters

    def _arguments(self, probs: Tensor, target: Tensor | None) -> Iterator[tuple[Tensor, ...]]:
        """The arguments for the metric of each step; a collection may pass labels to a metric that takes none."""
        probs = with_samples(probs)
        if probs.shape[1] != len(self.metrics):
            raise InputError(f"probs: expected {len(self.metrics)} time steps; got {probs.shape[1]}")
        labels = (target,) if self._labels and target is not None else ()
        for step in range(len(self.metrics)):
            yield _step(probs, step, self._samples, self.as_samples), *labels

    def update(self, probs: Tensor, target: Tensor | None = None) -> None:
        """Add predictions [T, N, C] or [S, T, N, C] and, if the metric takes them, `target` [N]."""
        for metric, arguments in zip(self.metrics, self._arguments(probs, target), strict=True):
            metric.update(*arguments)

    def compute(self) -> Any:
        """The values of all inputs seen, [T, ...]."""
        return _stack([metric.compute() for metric in self.metrics])

    def forward(self, probs: Tensor, target: Tensor | None = None) -> Any:
        """Add a batch, and return its values."""
        pairs = zip(self.metrics, self._arguments(probs, target), strict=True)
        return _stack([metric(*arguments) for metric, arguments in pairs])

    def reset(self) -> None:
        """Forget all inputs."""
        for metric in self.metrics:
            metric.reset()
        super().reset()

    def plot(self, val: Any = None, ax: Any = None) -> Any:
        """Draw the value against the number of time steps with matplotlib; returns (figure, axes)."""
        import matplotlib.pyplot as plt

        values = (self.compute() if val is None else val).detach().cpu()
        figure, axes = (None, ax) if ax is not None else plt.subplots()
        axes.plot(range(1, len(values) + 1), values)
        axes.set(xlabel="Time steps", ylabel=type(self.metrics[0]).__name__)
        return figure or axes.get_figure(), axes
