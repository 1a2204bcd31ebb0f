"""Base classes of the metrics: options and running state.

A class keeps one of three states: a sum over inputs (`PerInputMetric`), sums over bins (`BinnedMetric`), or all inputs
(`StoringMetric`). Accumulators are float64, so the result does not depend on how inputs are split into batches.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, ClassVar
from uuid import uuid4

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities.data import dim_zero_cat
from torchmetrics.utilities.distributed import gather_all_tensors
from torchmetrics.utilities.exceptions import TorchMetricsUserError

from tsnn_uq.checks import InputError, check_choice, describe
from tsnn_uq.metrics.distributed_states import align_states
from tsnn_uq.metrics.input_checks import Reduction

__all__ = ["PerInputMetric", "StoringMetric", "UncertaintyMetric"]


class UncertaintyMetric(Metric):
    """Base class of all metrics; a class takes the options of its `function`.

    Args:
        options: of `function`, or of `torchmetrics.Metric`.
    """

    function: ClassVar[Callable[..., Any]]
    is_differentiable: bool | None = False
    higher_is_better: bool | None = False
    full_state_update: bool | None = False
    _mark: str = ""
    _settings: Mapping[str, Any] = {}

    def __init__(self, **options: Any) -> None:
        known = inspect.signature(type(self).function).parameters
        super().__init__(**{name: value for name, value in options.items() if name not in known})
        self.options = {name: value for name, value in options.items() if name in known}

    def _add_states(self, states: Mapping[str, Tensor | None], settings: Mapping[str, Any], **reading: Any) -> None:
        """Add states, and an empty one whose name identifies how `update` computes them.

        Metrics in a `torchmetrics.MetricCollection` share one state, and one `update`, if their states have the same
        names and, after the first batch, the same values. This is only correct if they have the same updates for every
        batch. Each metric therefore has a further state, which stays empty and whose name identifies its update. A
        class that adds its states in another way shares them with no other class.

        Args:
            states: by name, the initial value of a sum, or None for a list.
            settings: by attribute, the settings on which the states depend.
            reading: by attribute, further settings of `update`: how it reads its arguments.
        """
        update = type(self).update
        self._mark = f"{update.__module__}.{update.__qualname__} {dict(settings)} {reading}"
        self._settings, self._fixed = dict(settings), frozenset({*settings, *reading})
        super().add_state(self._mark, [])
        for name, initial in states.items():
            if initial is None:
                self.add_state(name, [], dist_reduce_fx="cat")
            else:
                self.add_state(name, initial, dist_reduce_fx="sum")

    def add_state(
        self,
        name: str,
        default: Tensor | list[Any],
        dist_reduce_fx: str | Callable[..., Any] | None = None,
        persistent: bool = False,
    ) -> None:
        """Add a state, as in `torchmetrics.Metric`."""
        if not self._mark:
            self._mark = f"{type(self).__qualname__} {uuid4()}"
            super().add_state(self._mark, [])
        super().add_state(name, default, dist_reduce_fx, persistent)

    def __setattr__(self, name: str, value: Any) -> None:
        """Refuse to change a setting on which the accumulated state depends."""
        if name in self.__dict__.get("_fixed", ()):
            hint = "make a new metric"
            raise InputError(f"{name}: expected no change after the metric was made; got {describe(value)} ({hint})")
        super().__setattr__(name, value)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Add a batch and return its value; an invalid batch leaves the state unchanged."""
        lists = {name: list(state) for name, state in self.metric_state.items() if isinstance(state, list)}
        before = vars(self) | lists
        try:
            return super().forward(*args, **kwargs)
        except Exception:
            vars(self).update(before)
            raise

    def merge_state(self, incoming_state: dict[str, Any] | Metric) -> None:
        """Add the state of another metric of this class.

        Raises:
            InputError: the other metric has different settings.
        """
        if isinstance(incoming_state, UncertaintyMetric) and type(incoming_state) is type(self):
            ours, theirs = self._settings, incoming_state._settings
            if ours != theirs:
                raise InputError(f"incoming_state: expected a metric with the settings {ours}; got {theirs}")
            incoming_state = incoming_state.metric_state
        if isinstance(incoming_state, Mapping):
            incoming_state = {self._mark: [], **incoming_state}
        super().merge_state(incoming_state)

    def sync(
        self,
        dist_sync_fn: Callable[..., Any] | None = None,
        process_group: Any = None,
        should_sync: bool = True,
        distributed_available: Callable[[], bool] | None = None,
    ) -> None:
        """Gather the states of all processes; some of them may have no data."""
        available = distributed_available or self.distributed_available_fn
        if should_sync and available():
            states = {name: state for name, state in self.metric_state.items() if name != self._mark}
            gather, group = dist_sync_fn or gather_all_tensors, process_group or self.process_group
            for name, state in align_states(states, partial(gather, group=group), self.device).items():
                setattr(self, name, state)
        super().sync(dist_sync_fn, process_group, should_sync, distributed_available)

    @contextmanager
    def sync_context(self, *args: Any, **kwargs: Any) -> Generator[None, None, None]:
        """Context with the states of all processes; the own states are restored afterwards, also after an error."""
        with super().sync_context(*args, **kwargs):
            try:
                yield
            except Exception:
                with suppress(TorchMetricsUserError):  # nothing was synchronized
                    self.unsync()
                raise

    def plot(self, val: Any = None, ax: Any = None) -> Any:
        """Draw one value, or the sequence `val` of them, with matplotlib; returns (figure, axes)."""
        return self._plot(val, ax)

    def _require(self, seen: bool) -> None:
        if not seen:
            raise InputError(f"{type(self).__name__}: expected at least one input before compute; got none")


class PerInputMetric(UncertaintyMetric):
    """A metric with one value per input, reduced by mean, sum or none; subclasses set the `function` [S, N, C] -> [N].

    The function also takes `reduction`, `sample_dim` and `validate`. The state is a float64 sum and a count; with
    ``reduction="none"`` all values are kept. `compute` returns float64 (with "none" the
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
    values: Any
    total: Tensor
    count: Tensor

    def __init__(
        self, *, reduction: Reduction = "mean", sample_dim: int | None = 0, validate: bool = True, **options: Any
    ) -> None:
        super().__init__(**options)
        check_choice("reduction", reduction, ["mean", "sum", "none"])
        self.reduction, self.sample_dim, self.validate = reduction, sample_dim, validate
        self._try_options()
        zero = torch.tensor(0.0, dtype=torch.float64)
        states = {"values": None} if reduction == "none" else {"total": zero, "count": torch.tensor(0)}
        of = f"{type(self).__module__}.{type(self).__qualname__}"
        self._add_states(states, self.options, function=of, sample_dim=sample_dim, validate=validate)

    def _try_options(self) -> None:
        # Validate the options now, not at the first batch. Every axis has length 2, so any valid sample_dim fits.
        type(self).function(torch.full((2, 2, 2), 0.5), sample_dim=self.sample_dim, **self.options)

    def update(self, probs: Tensor, target: Tensor | None = None) -> None:
        """Add the inputs of `probs` [S, N, C].

        `target` is ignored; a `torchmetrics.MetricCollection` passes the labels to all of its metrics.
        """
        self._add(probs, sample_dim=self.sample_dim, **self.options)

    def _add(self, *inputs: Tensor, **options: Any) -> None:
        values = type(self).function(*inputs, reduction="none", validate=self.validate, **options)
        if self.reduction == "none":
            self.values.append(values)
        else:
            self.total = self.total + values.sum(0, dtype=torch.float64)
            self.count = self.count + len(values)

    def compute(self) -> Tensor:
        """The reduction over all inputs seen."""
        if self.reduction == "none":
            values = dim_zero_cat(self.values) if len(self.values) else torch.empty(0)
            self._require(len(values) > 0)
            return values
        self._require(bool(self.count))
        return self.total / self.count if self.reduction == "mean" else self.total


class StoringMetric(UncertaintyMetric):
    """A metric that keeps all inputs, so its memory grows with their number.

    A subclass sets its `function` and the names of the tensors it keeps, in the order of the function's arguments.
    """

    names: ClassVar[tuple[str, ...]]

    def __init__(self, *, validate: bool = True, **options: Any) -> None:
        super().__init__(**options)
        self.validate = validate

    def _add_lists(self, **reading: Any) -> None:
        self._add_states(dict.fromkeys(self.names), {}, validate=self.validate, **reading)

    def _keep(self, *tensors: Tensor) -> None:
        for name, tensor in zip(self.names, tensors, strict=True):
            getattr(self, name).append(tensor)

    def compute(self) -> Any:
        """The function of all inputs seen; batches were validated in `update`."""
        kept = [getattr(self, name) for name in self.names]
        self._require(all(len(batches) > 0 for batches in kept))
        return type(self).function(*map(dim_zero_cat, kept), **self.options, validate=False)
