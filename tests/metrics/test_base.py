"""The running state under the metric classes, on a metric of which every value is known."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor
from torchmetrics import MetricCollection

from tsnn_uq.checks import InputError
from tsnn_uq.metrics import ConformalClassifier, ConformalSets, EarlyExit, ExpectedCalibrationError, PerInputMetric
from tsnn_uq.metrics.base import UncertaintyMetric
from tsnn_uq.metrics.input_checks import Reduction, reduce_inputs


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
        assert sum(len(torch.as_tensor(state).flatten()) for state in metric.metric_state.values()) == 2


def test_options_go_to_the_function_and_the_rest_to_torchmetrics() -> None:
    metric = FirstEntry(scale=2, sample_dim=1, compute_on_cpu=True)
    metric.update(entries(1, 2).transpose(0, 1))
    assert metric.compute() == 3
    assert metric.compute_on_cpu
    with pytest.raises(ValueError, match="Unexpected keyword arguments: `size`"):
        FirstEntry(size=2)


def test_what_numbers_depend_on_stays() -> None:
    """A running metric whose threshold moved would be of neither."""
    early = EarlyExit(0.5)
    for change in (lambda: setattr(early, "threshold", 0.9), lambda: setattr(early.clone(), "score", "entropy")):
        with pytest.raises(InputError, match="expected no change"):
            change()
    classifier = ConformalClassifier(0.3).fit(torch.eye(3), torch.arange(3))
    sets = ConformalSets(classifier)
    classifier.fit(torch.full((20, 3), 1 / 3), torch.zeros(20, dtype=torch.long))
    sets.update(torch.eye(3), torch.arange(3))
    assert sets.compute().mean_size == 1


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (lambda: EarlyExit(0.5), lambda: EarlyExit(0.99)),
        (lambda: ExpectedCalibrationError(5), lambda: ExpectedCalibrationError(6)),
        (lambda: FirstEntry(scale=2), lambda: FirstEntry(scale=3)),
    ],
)
def test_states_of_other_settings_are_not_merged(one, other) -> None:
    with pytest.raises(InputError, match="incoming_state: expected a metric with the settings"):
        one().merge_state(other())


def test_how_arguments_are_read_and_what_is_computed_in_the_end_may_differ_in_what_is_merged() -> None:
    one, other, rest = FirstEntry(), FirstEntry(sample_dim=1, validate=False), FirstEntry(reduction="sum")
    one.update(entries(1, 2))
    other.update(entries(6).transpose(0, 1))
    for metric in (other, rest):
        one.merge_state(metric)
    one.merge_state({"total": torch.tensor(7.0), "count": torch.tensor(1)})
    assert one.compute() == 4


class Largest(UncertaintyMetric):
    """Somebody's metric, which says nothing of what its update depends on."""

    function = staticmethod(first_entry)

    def __init__(self, power: float) -> None:
        super().__init__()
        self.power = power
        self.add_state("largest", torch.tensor(0.0), dist_reduce_fx="max")

    def update(self, probs: Tensor) -> None:
        self.largest = torch.maximum(self.largest, (probs**self.power).max())

    def compute(self) -> Tensor:
        return self.largest


def test_a_class_that_does_not_say_what_its_update_does_shares_with_none() -> None:
    together = MetricCollection({"one": Largest(1), "two": Largest(2)})
    for value in (1.0, 3.0):
        together.update(entries(value))
    assert together.compute() == {"one": 3, "two": 9}
    other = Largest(1)
    other.update(entries(5))
    other.merge_state(together["one"])
    assert other.compute() == 5
