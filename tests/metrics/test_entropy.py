"""Entropies against scipy and against hand-computed values."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given
from torch import Tensor

from tests.helpers.strategies import mc_probabilities
from tsnn_uq.checks import InputError
from tsnn_uq.metrics.functional import expected_entropy, mutual_information, predictive_entropy


@given(mc_probabilities())
def test_against_scipy(probs: Tensor) -> None:
    array = probs.numpy()
    for base in (None, 2, 10):
        of_mean = scipy.stats.entropy(array.mean(0), axis=-1, base=base)
        mean_of = scipy.stats.entropy(array, axis=-1, base=base).mean(0)
        np.testing.assert_allclose(predictive_entropy(probs, base=base, reduction="none"), of_mean, atol=1e-12)
        np.testing.assert_allclose(expected_entropy(probs, base=base, reduction="none"), mean_of, atol=1e-12)


@given(mc_probabilities())
def test_total_is_aleatoric_plus_epistemic_and_within_range(probs: Tensor) -> None:
    total, aleatoric, epistemic = (
        metric(probs, reduction="none") for metric in (predictive_entropy, expected_entropy, mutual_information)
    )
    torch.testing.assert_close(total, aleatoric + epistemic, rtol=0, atol=1e-14)
    assert (aleatoric >= -1e-15).all()
    assert (total <= math.log(probs.shape[-1]) + 1e-12).all()


def test_hand_computed() -> None:
    uniform, sure = [0.25] * 4, [1.0, 0.0, 0.0, 0.0]
    probs = torch.tensor([[uniform, sure, sure], [uniform, sure, [0.0, 0.0, 0.0, 1.0]]])
    assert predictive_entropy(probs, base=2, reduction="none").tolist() == [2, 0, 1]
    assert expected_entropy(probs, base=2, reduction="none").tolist() == [2, 0, 0]
    assert predictive_entropy(probs, normalize=True, reduction="none").tolist() == [1, 0, 0.5]
    assert predictive_entropy(probs, base=10, normalize=True, reduction="none").tolist() == [1, 0, 0.5]
    assert predictive_entropy(probs, base=2) == 1
    assert predictive_entropy(probs, base=2, reduction="sum") == 3


def test_normalize_needs_two_classes() -> None:
    one = torch.ones(2, 3, 1)
    assert predictive_entropy(one) == 0
    with pytest.raises(InputError, match="normalize: expected at least two classes to divide"):
        predictive_entropy(one, normalize=True)


@pytest.mark.parametrize("base", [0, -1, math.inf, math.nan, 1])
def test_base_must_be_a_base(base: float) -> None:
    with pytest.raises(InputError, match="base: expected a positive number"):
        expected_entropy(torch.full((1, 1, 2), 0.5), base=base)


@pytest.mark.parametrize("metric", [predictive_entropy, expected_entropy, mutual_information])
def test_gradient_is_finite_where_a_softmax_underflows(metric) -> None:
    logits = torch.tensor([[[0.0, 200.0]], [[1.0, 0.0]]], requires_grad=True)
    metric(logits.softmax(-1)).backward()
    assert logits.grad.isfinite().all()
    assert logits.grad.abs().sum() > 0
