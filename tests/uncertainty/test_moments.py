"""Statistics gathered sample by sample, against the metrics of all samples at once."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from tests.helpers.strategies import mc_probabilities
from tsnn_uq.checks import InputError
from tsnn_uq.metrics import functional as metrics
from tsnn_uq.uncertainty import Moments
from tsnn_uq.uncertainty.moments import gather_moments, samples_at_once

NAMES = ("predictive_entropy", "expected_entropy", "mutual_information", "predictive_variance", "predictive_std")


def close(value: Tensor, expected: Tensor, atol: float = 1e-12) -> None:
    torch.testing.assert_close(value, expected.double(), rtol=1e-12, atol=atol)


def check(moments: Moments, probs: Tensor, atol: float = 1e-12) -> None:
    """Everything equals what the metrics make of [S, N, C]."""
    samples, inputs, _ = probs.shape
    assert moments.samples.tolist() == [samples] * inputs
    close(moments.mean, probs.mean(0), atol)
    close(moments.variance, metrics.predictive_variance(probs, of="classes", reduction="none"), atol)
    for name in NAMES:
        # A root's error is the square root of what it is taken of, where that is nothing.
        root = name == "predictive_std"
        close(getattr(moments, name), getattr(metrics, name)(probs, reduction="none"), atol**0.5 if root else atol)
    if samples > 1:
        spread = metrics.predictive_std(probs, of="classes", unbiased=True, reduction="none")
        close(moments.standard_error, spread / math.sqrt(samples), atol**0.5)
    else:
        assert moments.standard_error.isinf().all()


def merged(tree: st.DataObject, parts: list[Moments]) -> Moments:
    """Neighbours or not, merged two at a time until one is left."""
    parts = list(parts)
    while len(parts) > 1:
        first = parts.pop(tree.draw(st.integers(0, len(parts) - 1)))
        second = parts.pop(tree.draw(st.integers(0, len(parts) - 1)))
        parts.append(first.merge(second))
    return parts[0]


@given(mc_probabilities(max_samples=9), st.data())
def test_chunks_of_whatever_size_merged_in_whatever_order_are_the_metrics_of_all(probs, data):
    cuts = sorted(data.draw(st.sets(st.integers(1, len(probs) - 1)))) if len(probs) > 1 else []
    chunks = probs.tensor_split(cuts)
    check(Moments.of(probs), probs)
    check(gather_moments(chunks), probs)
    check(merged(data, [Moments.of(chunk) for chunk in chunks]), probs)


@given(mc_probabilities(max_inputs=6), st.data())
def test_blocks_of_inputs_are_joined_in_order(probs, data):
    cuts = sorted(data.draw(st.sets(st.integers(1, probs.shape[1] - 1)))) if probs.shape[1] > 1 else []
    check(Moments.cat([Moments.of(block) for block in probs.tensor_split(cuts, dim=1)]), probs)


def test_float32_samples_are_added_up_in_float64(generator):
    probs = torch.randn(500, 20, 10, generator=generator).mul(4).softmax(-1)
    moments = gather_moments(probs.split(7))
    assert moments.mean.dtype == moments.squares.dtype == moments.surprise.dtype == torch.float64
    check(moments, probs.double())
    torch.testing.assert_close(moments.mean.float(), probs.mean(0))


def test_a_small_variance_beside_a_large_mean_is_not_lost(generator):
    """Sums of squares would lose it: 1e-20 is far below the rounding of 1 in float64."""
    noise = 1e-10 * torch.randn(1000, 1, generator=generator, dtype=torch.float64)
    probs = torch.stack([1 - 1e-8 + noise, 1e-8 - noise], dim=-1)
    torch.testing.assert_close(gather_moments(probs.split(3)).variance, probs.var(0, correction=0), rtol=1e-5, atol=0)


@pytest.mark.parametrize("samples", [1, 2, 3, 7, 100])
def test_equal_samples_disagree_exactly_not(samples, generator):
    one = torch.randn(1, 50, 33, generator=generator).mul(3).softmax(-1)
    moments = gather_moments(one.expand(samples, -1, -1).split(3))
    assert torch.equal(moments.mean, one[0].double())
    assert (moments.variance == 0).all()
    assert (moments.mutual_information == 0).all()


def test_a_probability_of_zero_surprises_nobody():
    moments = Moments.of(torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]], [[1.0, 0.0]]]))
    assert moments.expected_entropy.item() == 0
    assert moments.mutual_information.item() == pytest.approx(math.log(3) - 2 / 3 * math.log(2))


def test_the_standard_error_is_that_of_the_mean(generator):
    """Over many repeats the means spread as one repeat says; the mean of 400 variances is known to about 2 %."""
    probs = torch.randn(400, 50, 1, 3, generator=generator, dtype=torch.float64).softmax(-1)
    repeats = [Moments.of(samples) for samples in probs]
    said = torch.stack([moments.standard_error for moments in repeats]).square().mean(0)
    found = torch.stack([moments.mean for moments in repeats]).var(0)
    torch.testing.assert_close(said, found, rtol=0.3, atol=0)


def coin(samples: int) -> Tensor:
    """Two outcomes by turns: the standard error of n of them is 0.5 / sqrt(n - 1) for even n."""
    return torch.eye(2, dtype=torch.float64).repeat(samples // 2, 1).unsqueeze(1)


@pytest.mark.parametrize("size", [1, 2, 4, 8])
@pytest.mark.parametrize(("tolerance", "drawn"), [(9.0, 8), (0.19, 8), (0.188, 16), (0.1, 32), (0.06, 72), (0.01, 200)])
def test_gathering_ends_at_the_first_multiple_of_eight_that_is_precise_enough(tolerance, drawn, size):
    assert 0.5 / math.sqrt(7) == pytest.approx(0.18898, abs=1e-5)
    chunks = iter(coin(200).split(size))
    moments = gather_moments(chunks, tolerance)
    assert moments.samples.item() == drawn
    assert sum(len(chunk) for chunk in chunks) == 200 - drawn  # what is not needed is never asked for


def test_the_worst_input_and_class_decide():
    probs = torch.cat([coin(200), torch.tensor([0.5, 0.5], dtype=torch.float64).expand(200, 3, 2)], dim=1)
    assert gather_moments(probs.split(8), 0.1).samples.tolist() == [32] * 4


def test_samples_are_never_precise_where_they_are_no_numbers():
    assert gather_moments(torch.full((40, 1, 2), torch.nan).split(8), 0.5).samples.item() == 40


@pytest.mark.parametrize("tolerance", [0, -0.1, True, float("nan"), float("inf"), "0.1"])
def test_a_tolerance_is_a_positive_number(tolerance):
    with pytest.raises(InputError, match=r"^tolerance: expected a positive number"):
        samples_at_once(tolerance)


@pytest.mark.parametrize(
    ("probs", "match"),
    [
        (torch.ones(3, 1), r"^probs: expected a tensor of shape \[S, N, C\]"),
        (torch.ones(0, 2, 1), "^probs: expected at least one sample along axis 0"),
        (torch.tensor([[[2.0, -1.0]]]), r"^probs: expected probabilities in \[0, 1\]"),
    ],
)
def test_what_is_no_probability_is_refused(probs, match):
    with pytest.raises(InputError, match=match):
        Moments.of(probs)


def test_only_the_same_inputs_and_classes_are_merged():
    match = r"^other: expected means of shape \[1, 2\]"
    with pytest.raises(InputError, match=match):
        Moments.of(coin(2)).merge(Moments.of(torch.ones(1, 1, 1)))


def test_nothing_cannot_be_gathered():
    with pytest.raises(InputError, match=r"^chunks: expected at least one chunk of samples"):
        gather_moments([])
