"""What every metric refuses and accepts at its door, and the arithmetic that all share."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from tests.helpers.strategies import mc_probabilities
from tsnn_uq.checks import InputError
from tsnn_uq.metrics import functional as F
from tsnn_uq.metrics.input_checks import average_ties, mean_of_samples, reduce_inputs

MONTE_CARLO = [
    F.predictive_entropy,
    F.expected_entropy,
    F.mutual_information,
    F.expected_pairwise_kl,
    F.predictive_variance,
    F.predictive_std,
    F.variation_ratio,
    F.pairwise_disagreement,
]
SCORES = [F.negative_log_likelihood, F.brier_score, F.accuracy]
BINNED = [
    F.expected_calibration_error,
    F.maximum_calibration_error,
    F.rms_calibration_error,
    F.debiased_calibration_error,
    F.overconfidence_error,
    F.underconfidence_error,
    F.classwise_calibration_error,
    F.adaptive_calibration_error,
    F.reliability_curve,
    F.brier_decomposition,
]


def by_name(function: object) -> str:
    return getattr(function, "__name__", "")


def softmax(generator: torch.Generator, *shape: int) -> Tensor:
    return (4 * torch.randn(*shape, generator=generator)).softmax(-1)


@pytest.mark.parametrize("metric", MONTE_CARLO, ids=by_name)
class TestMonteCarlo:
    def test_refuses_what_is_no_probability(self, metric) -> None:
        good = torch.full((2, 3, 4), 0.25)
        nan = good.clone()
        nan[0, 0, 0] = math.nan
        for bad, message in [
            (nan, r"probs: expected probabilities in \[0, 1\]"),
            (20 * good, "apply softmax first"),
            (0.9 * good, "rows that sum to 1"),
            (good[0], r"probs: expected a tensor of shape \[S, N, C\]"),
            (good.long(), "expected floating-point probabilities"),
            (good[:0], "expected at least one sample along axis 0"),
        ]:
            with pytest.raises(InputError, match=message):
                metric(bad)

    def test_checks_can_be_switched_off(self, metric) -> None:
        halves = torch.full((2, 3, 4), 0.125)
        assert metric(halves, validate=False, reduction="none").shape == (3,)

    def test_unknown_reduction(self, metric) -> None:
        with pytest.raises(InputError, match="reduction: expected one of"):
            metric(torch.full((2, 3, 4), 0.25), reduction="average")

    def test_no_inputs(self, metric) -> None:
        empty = torch.empty(3, 0, 4)
        assert metric(empty, reduction="none").shape == (0,)
        assert metric(empty, reduction="sum") == 0
        with pytest.raises(InputError, match="at least one input to take a mean over"):
            metric(empty)

    @pytest.mark.parametrize("shape", [(1, 1, 2), (2, 1, 2), (3, 5, 1000)])
    def test_sizes_layouts_and_reductions(self, metric, shape: tuple[int, ...], generator: torch.Generator) -> None:
        probs = softmax(generator, *shape)
        values = metric(probs, reduction="none")
        assert values.shape == shape[1:2]
        assert values.dtype == torch.float32
        torch.testing.assert_close(metric(probs), values.mean())
        torch.testing.assert_close(metric(probs, reduction="sum"), values.sum())
        for axis in (1, 2, -2):
            moved = probs.movedim(0, axis)
            torch.testing.assert_close(metric(moved, sample_dim=axis, reduction="none"), values)
            torch.testing.assert_close(metric(moved.contiguous(), sample_dim=axis, reduction="none"), values)

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
    def test_half_precision_is_computed_in_float32(
        self, metric, dtype: torch.dtype, generator: torch.Generator
    ) -> None:
        probs = softmax(generator, 3, 5, 4).to(dtype)
        assert metric(probs).dtype == torch.float32
        assert metric(probs) == metric(probs.float(), validate=False)


@pytest.mark.parametrize("metric", [*SCORES, *BINNED, F.smooth_calibration_error], ids=by_name)
class TestForecasts:
    def test_refuses_what_does_not_fit(self, metric) -> None:
        probs, target = torch.full((3, 4), 0.25), torch.tensor([0, 1, 3])
        for bad_probs, bad_target, message in [
            (probs * math.nan, target, r"probs: expected probabilities in \[0, 1\]"),
            (probs.log(), target, "apply softmax first"),
            (probs / 2, target, "rows that sum to 1"),
            (probs[None], target, r"probs: expected a tensor of shape \[N, C\]"),
            (probs, target + 1, "target: expected labels from 0 to 3"),
            (probs, target - 1, "target: expected labels from 0 to 3"),
            (probs, target[:2], "target: expected 3 labels, one per input"),
            (probs, target.double(), "target: expected whole class numbers"),
            (probs, probs, r"target: expected a tensor of shape \[N\]"),
        ]:
            with pytest.raises(InputError, match=message):
                metric(bad_probs, bad_target)

    def test_no_inputs(self, metric) -> None:
        with pytest.raises(InputError, match="at least one input"):
            metric(torch.empty(0, 4), torch.empty(0, dtype=torch.long))

    @pytest.mark.parametrize("shape", [(1, 2), (20, 2), (30, 1000)])
    def test_sizes_and_layouts(self, metric, shape: tuple[int, int], generator: torch.Generator) -> None:
        probs = softmax(generator, *shape)
        target = torch.randint(shape[1], shape[:1], generator=generator)
        columns = probs.T.contiguous().T
        strided = torch.stack([target, target], 1)[:, 0]
        assert not strided.is_contiguous() or len(target) == 1
        wanted = metric(probs, target)
        for labels in (strided, target.int(), target.to(torch.int16)):
            torch.testing.assert_close(metric(columns, labels), wanted, equal_nan=True)


@pytest.mark.parametrize("metric", BINNED, ids=by_name)
def test_bins_must_be_a_positive_whole_number(metric) -> None:
    with pytest.raises(InputError, match="bins: expected a positive whole number"):
        metric(torch.tensor([[0.5, 0.5]]), torch.tensor([0]), bins=0)


@given(mc_probabilities(), st.randoms(use_true_random=False))
def test_samples_inputs_and_classes_come_in_any_order(probs: Tensor, random) -> None:
    samples, inputs, classes = (torch.tensor(random.sample(range(n), n)) for n in probs.shape)
    moved = probs[samples][:, inputs][:, :, classes]
    tied = (probs == probs.amax(-1, keepdim=True)).sum(-1).gt(1).any()
    mean = mean_of_samples(probs)
    mean_tied = ((mean.amax(-1, keepdim=True) - mean) < 1e-12).sum(-1).gt(1).any()
    for metric in MONTE_CARLO:
        # Of tied classes the first is predicted, so votes may move with the classes; nothing else does.
        voting = metric in (F.variation_ratio, F.pairwise_disagreement)
        used = probs[samples][:, inputs] if voting and tied else moved
        close(metric(used, reduction="none"), metric(probs, reduction="none")[inputs])
    if not mean_tied:
        predicted = F.predictive_variance(probs, of="predicted", reduction="none")
        close(F.predictive_variance(moved, of="predicted", reduction="none"), predicted[inputs])


def close(value: Tensor, wanted: Tensor) -> None:
    # Roots amplify: the square root of a rounding error of 1e-16 is 1e-8.
    torch.testing.assert_close(value, wanted, rtol=1e-9, atol=1e-7)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=4), st.integers(1, 9))
def test_mean_of_equal_samples_is_the_sample(sample: list[float], copies: int) -> None:
    for dtype in (torch.float32, torch.float64):
        samples = torch.tensor([sample] * copies, dtype=dtype)
        assert torch.equal(mean_of_samples(samples), samples[0])


def test_reductions_accumulate_in_float64() -> None:
    """In float32 the 1 is lost beside 2^24, in at least one of the orders."""
    for values in itertools.permutations([2.0**24, 1.0, -(2.0**24)]):
        assert reduce_inputs(torch.tensor(values), "sum") == 1
        assert reduce_inputs(torch.tensor(values), "mean").dtype == torch.float32


def test_average_ties() -> None:
    keys = torch.tensor([2.0, 1.0, 2.0, math.inf, 2.0])
    assert average_ties(keys, torch.tensor([0, 5, 3, 7, 6])).tolist() == [3, 5, 3, 7, 3]
