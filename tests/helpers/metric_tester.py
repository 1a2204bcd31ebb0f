"""The contract that every metric class keeps, whatever it measures: one check per method, shared by all classes."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor
from torchmetrics import Metric, MetricCollection, SumMetric

from tsnn_uq.checks import InputError

__all__ = ["MetricTester"]


@dataclass(frozen=True)
class MetricTester:
    """A metric class, its function and 12 or more inputs, under a name that pytest shows.

    Args:
        metric: the class.
        function: the pure function of the same inputs.
        inputs: by the names of `update`; all inputs at once, in float64 where they are floats.
        axes: the axis of the inputs in each of `inputs`.
        options: of the class and the function alike.
    """

    metric: Callable[..., Metric]
    function: Callable[..., Any]
    inputs: dict[str, Tensor]
    axes: tuple[int, ...]
    options: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return "-".join([self.function.__name__, *(f"{name}={value}" for name, value in self.options.items())])

    def make(self, **more: Any) -> Metric:
        return self.metric(**self.options, **more)

    def batches(self, sizes: Sequence[int]) -> Iterator[dict[str, Tensor]]:
        """The inputs cut into batches of these sizes; the last one takes the rest."""
        starts = torch.tensor(sizes, dtype=torch.long).cumsum(0)
        columns = [x.tensor_split(starts, axis) for x, axis in zip(self.inputs.values(), self.axes, strict=True)]
        for parts in zip(*columns, strict=True):
            yield dict(zip(self.inputs, parts, strict=True))

    def after(self, sizes: Sequence[int] = ()) -> Metric:
        metric = self.make()
        for batch in self.batches(sizes):
            metric.update(**batch)
        return metric

    def expected(self) -> Any:
        return self.function(**self.inputs, **self.options)

    def check_split(self) -> None:
        """One batch, many uneven ones, and the function give the same number."""
        for sizes in ([], [1], [5, 1, 3], [1] * 11):
            same(self.after(sizes).compute(), self.expected())

    def check_order(self, generator: torch.Generator) -> None:
        """The order of the inputs does not matter (of the values of "none", it is the only thing that changes)."""
        first = next(iter(self.inputs.values()))
        order = torch.randperm(first.shape[self.axes[0]], generator=generator)
        moved = {
            name: x.index_select(axis, order) for (name, x), axis in zip(self.inputs.items(), self.axes, strict=True)
        }
        value, expected = self.function(**moved, **self.options), self.expected()
        if hasattr(expected, "steps"):  # a value per input beside its mean
            expected = expected._replace(steps=expected.steps[order])
        same(value, expected[order] if self.options.get("reduction") == "none" else expected)

    def check_copies(self) -> None:
        """Clone and pickle carry the state and go their own way; `state_dict` stays empty."""
        metric = self.after()
        for copy in (metric.clone(), pickle.loads(pickle.dumps(metric))):
            same(copy.compute(), self.expected())
            copy.reset()
            same(metric.compute(), self.expected())
        assert not metric.state_dict()

    def check_reset(self) -> None:
        """After a reset nothing is left of earlier batches."""
        metric = self.after()
        metric.reset()
        metric.update(**self.inputs)
        same(metric.compute(), self.expected())

    def check_forward(self) -> None:
        """`forward` gives the batch's own value, and the state gathers all batches."""
        metric = self.make()
        for batch in self.batches([5]):
            same(metric(**batch), self.function(**batch, **self.options))
        same(metric.compute(), self.expected())

    def check_refused(self) -> None:
        """A batch that `forward` refuses leaves everything as it was."""
        metric, (five, seven) = self.make(), self.batches([5])
        metric(**five)
        for wrong in ({name: x[None, None] for name, x in seven.items()}, next(self.batches([0]))):
            with pytest.raises(InputError):
                metric(**wrong)
        metric(**seven)
        assert metric.update_count == 2
        same(metric.compute(), self.expected())

    def check_empty(self) -> None:
        """`compute` without inputs is an error that names the class; an empty batch changes nothing."""
        metric = self.make()
        with pytest.warns(UserWarning, match="before the ``update``"), pytest.raises(InputError, match="got none"):
            metric.compute()
        empty, whole = self.batches([0])
        metric.update(**empty)
        with pytest.raises(InputError, match="got none"):
            metric.compute()
        metric.update(**whole)
        same(metric.compute(), self.expected())

    def check_precision(self) -> None:
        """Inputs in float32 give nearly the number of float64, and half precision is computed in float32."""
        narrow = {name: x.float() if x.is_floating_point() else x for name, x in self.inputs.items()}
        same(self.function(**narrow, **self.options), self.expected(), rtol=1e-4, atol=1e-5)
        half = {name: x.half() if x.is_floating_point() else x for name, x in self.inputs.items()}
        widened = {name: x.float() if x.is_floating_point() else x for name, x in half.items()}
        same(self.function(**half, **self.options), self.function(**widened, **self.options), rtol=0, atol=0)

    def check_gradient(self) -> None:
        """The class says truly whether the function is differentiable; where it is, the gradient is right."""
        name, *others = self.inputs
        rest = {other: self.inputs[other] for other in others}
        if not self.inputs[name].is_floating_point():
            assert not self.metric.is_differentiable
            return
        x = self.inputs[name].clone().requires_grad_()
        value = self.function(x, **rest, **self.options)
        if self.metric.is_differentiable:
            assert torch.autograd.gradcheck(lambda x: self.function(x, **rest, **self.options), x)
        else:
            assert not any(part.requires_grad for part in parts_of(value))

    def check_collection(self) -> None:
        """In a MetricCollection, beside a metric of other arguments, keyword updates reach it."""
        collection = MetricCollection({"this": self.make(), "that": SumMetric()})
        for batch in self.batches([5]):
            collection.update(**batch, value=torch.ones(2))
        values = collection.compute()
        same(values["this"], self.expected())
        assert values["that"] == 4


def parts_of(value: Any) -> Sequence[Tensor]:
    return [value] if isinstance(value, Tensor) else list(value)


def same(value: Any, expected: Any, rtol: float = 1e-12, atol: float = 1e-12) -> None:
    """Equal up to rounding, part by part; NaN equals NaN."""
    for part, wanted in zip(parts_of(value), parts_of(expected), strict=True):
        torch.testing.assert_close(part, wanted, rtol=rtol, atol=atol, equal_nan=True, check_dtype=False)
