"""Mutual information and pairwise divergence against loops over the definition."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from scipy.special import rel_entr
from torch import Tensor

from tests.helpers.strategies import mc_probabilities
from tsnn_uq.metrics import MutualInformation
from tsnn_uq.metrics.functional import expected_pairwise_kl, mutual_information


@given(mc_probabilities())
def test_mutual_information_is_the_mean_divergence_from_the_mean(probs: Tensor) -> None:
    array = probs.numpy()
    wanted = rel_entr(array, array.mean(0)).sum(-1).mean(0)
    value = mutual_information(probs, reduction="none")
    np.testing.assert_allclose(value, wanted, atol=1e-12)
    assert (value >= 0).all()
    assert (value <= math.log(min(probs.shape[0], probs.shape[2])) + 1e-12).all()


@given(mc_probabilities())
def test_pairwise_divergence_against_all_pairs(probs: Tensor) -> None:
    array = probs.numpy()
    pairs = list(itertools.permutations(range(len(array)), 2))
    wanted = sum((rel_entr(array[i], array[j]).sum(-1) for i, j in pairs), np.zeros(array.shape[1])) / max(
        len(pairs), 1
    )
    value = expected_pairwise_kl(probs, reduction="none")
    np.testing.assert_allclose(value, wanted, rtol=1e-9, atol=1e-12)
    assert (value + 1e-12 >= mutual_information(probs, reduction="none")).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("samples", [1, 2, 3, 7, 10])
def test_equal_samples_carry_exactly_no_information(
    dtype: torch.dtype, samples: int, generator: torch.Generator
) -> None:
    one = torch.randn(50, 33, generator=generator, dtype=dtype).mul(3).softmax(-1)
    for probs in (one.expand(samples, -1, -1), one.T.contiguous().T.expand(samples, -1, -1), one.repeat(samples, 1, 1)):
        for metric in (mutual_information, expected_pairwise_kl):
            assert (metric(probs, reduction="none") == 0).all()


def test_clamped_per_input_before_the_mean(generator: torch.Generator) -> None:
    """Samples that differ by rounding give differences of either sign; clamped after the mean, these would cancel."""
    one = torch.randn(2000, 10, generator=generator).softmax(-1)
    noise = torch.randn(5, 2000, 10, generator=generator).mul(1e-7)
    probs = one + noise * one
    values = mutual_information(probs, reduction="none")
    assert (values == 0).any()
    assert values.min() == 0
    metric = MutualInformation()
    metric.update(probs[:, :300])
    metric.update(probs[:, 300:])
    torch.testing.assert_close(metric.compute(), values.double().mean(), rtol=1e-12, atol=0)


def test_hand_computed() -> None:
    sure = torch.eye(4)[:, None]  # four samples, each sure of another class
    assert mutual_information(sure, base=2) == 2
    assert mutual_information(sure, normalize=True) == 1
    pair = torch.tensor([[[0.5, 0.5]], [[0.25, 0.75]]], dtype=torch.float64)
    there = 0.5 * math.log(0.5 / 0.25) + 0.5 * math.log(0.5 / 0.75)
    back = 0.25 * math.log(0.25 / 0.5) + 0.75 * math.log(0.75 / 0.5)
    assert expected_pairwise_kl(pair).item() == pytest.approx((there + back) / 2, rel=1e-14)
    assert expected_pairwise_kl(pair, base=2).item() == pytest.approx((there + back) / 2 / math.log(2), rel=1e-14)


def test_divergence_takes_zeros_at_their_word() -> None:
    always_zero = torch.tensor([[[0.5, 0.5, 0.0]], [[0.5, 0.5, 0.0]]])
    once_zero = torch.tensor([[[0.5, 0.5, 0.0]], [[0.5, 0.25, 0.25]]])
    assert expected_pairwise_kl(always_zero) == 0
    assert expected_pairwise_kl(once_zero) == math.inf
    assert expected_pairwise_kl(torch.cat([always_zero, once_zero], 1), reduction="none").tolist() == [0, math.inf]
    assert expected_pairwise_kl(once_zero[:1]) == 0  # S = 1
