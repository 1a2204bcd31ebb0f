"""The running state under the metric classes, on a metric of which every value is known."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from tsnn_uq.metrics import PerInputMetric
from tsnn_uq.metrics.inputs import Reduction, reduce_inputs


def first_entry(
    probs: Tensor, *, scale: float = 1, reduction: Reduction = "mean", sample_dim: int = 0, validate: bool = True
) -> Tensor:
    """Any number per input will do: the first class of the first sample."""
    return reduce_inputs(scale * probs.movedim(sample_dim, 0)[0, :, 0], reduction)


class FirstEntry(PerInputMetric):
    function = staticmethod(first_entry)


def entries(*values: float) -> Tensor:
    return torch.tensor(values)[None, :, None].expand(2, -1, 3)


def test_sums_are_float64_within_and_between_batches() -> None:
    """In float32 the 1 is lost beside 2^24, in at least one of the orders."""
    for values in itertools.permutations([2.0**24, 1.0, -(2.0**24)]):
        whole, parts = FirstEntry(), FirstEntry()
        whole.update(entries(*values))
        for value in values:
            parts.update(entries(value))
        assert whole.compute() == parts.compute() == torch.tensor(1.0, dtype=torch.float64) / 3


def test_batches_weigh_by_their_size() -> None:
    for reduction, wanted in [("mean", 3.0), ("sum", 12.0), ("none", [1.0, 1.0, 1.0, 9.0])]:
        metric = FirstEntry(reduction=reduction)
        metric.update(entries(1, 1, 1))
        metric.update(entries(9))
        assert metric.compute().tolist() == wanted


def test_state_does_not_grow() -> None:
    metric = FirstEntry()
    for _ in range(5):
        metric.update(entries(1, 2, 3))
        assert [state.numel() for state in metric.metric_state.values()] == [1, 1]


def test_options_go_to_the_function_and_the_rest_to_torchmetrics() -> None:
    metric = FirstEntry(scale=2, sample_dim=1, compute_on_cpu=True)
    metric.update(entries(1, 2).transpose(0, 1))
    assert metric.compute() == 3
    assert metric.compute_on_cpu
    with pytest.raises(ValueError, match="Unexpected keyword arguments: `size`"):
        FirstEntry(size=2)
