"""Variance and standard deviation against numpy and the law of total variance."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from torch import Tensor

from tests.helpers.strategies import mc_probabilities
from tsnn_uq.checks import InputError
from tsnn_uq.metrics import PredictiveStd
from tsnn_uq.metrics.functional import predictive_std, predictive_variance


@given(mc_probabilities())
def test_against_numpy(probs: Tensor) -> None:
    array = probs.numpy()
    for ddof in range(min(2, len(array))):
        per_class, options = array.var(0, ddof=ddof), {"unbiased": bool(ddof), "reduction": "none"}
        np.testing.assert_allclose(predictive_variance(probs, of="classes", **options), per_class, atol=1e-15)
        np.testing.assert_allclose(predictive_variance(probs, **options), per_class.sum(-1), atol=1e-15)
        np.testing.assert_allclose(predictive_std(probs, **options), np.sqrt(per_class.sum(-1)), atol=1e-7)


@given(mc_probabilities())
def test_law_of_total_variance(probs: Tensor) -> None:
    """The indicator of a class varies by what each sample leaves open plus what the samples disagree on."""
    mean = probs.mean(0)
    explained = predictive_variance(probs, of="classes", reduction="none")
    torch.testing.assert_close(mean * (1 - mean), (probs * (1 - probs)).mean(0) + explained, rtol=0, atol=1e-14)
    assert (explained >= 0).all()
    assert (explained.sum(-1) <= 1).all()


def test_predicted_class_is_that_of_the_mean() -> None:
    # The mean is [0.44, 0.36, 0.2], though two of three samples predict class 1.
    probs = torch.tensor([[[0.9, 0.0, 0.1]], [[0.21, 0.54, 0.25]], [[0.21, 0.54, 0.25]]], dtype=torch.float64)
    wanted = np.var([0.9, 0.21, 0.21])
    assert predictive_variance(probs, of="predicted").item() == pytest.approx(wanted, rel=1e-12)


@pytest.mark.parametrize("metric", [predictive_variance, predictive_std])
@pytest.mark.parametrize("samples", [1, 2, 3, 7, 10])
def test_equal_samples_vary_exactly_not(metric, samples: int, generator: torch.Generator) -> None:
    one = torch.randn(50, 33, generator=generator).mul(3).softmax(-1)
    for of in ("total", "predicted", "classes"):
        assert (metric(one.expand(samples, -1, -1), of=of, reduction="none") == 0).all()


def test_root_comes_before_the_mean(generator: torch.Generator) -> None:
    probs = torch.randn(4, 9, 3, generator=generator, dtype=torch.float64).softmax(-1)
    per_input = predictive_variance(probs, reduction="none").sqrt()
    metric = PredictiveStd()
    metric.update(probs[:, :2])
    metric.update(probs[:, 2:])  # two batches of unequal size
    assert metric.compute().item() == pytest.approx(per_input.mean().item(), rel=1e-14)
    assert metric.compute() < predictive_variance(probs).sqrt()


def test_gradient_is_zero_and_not_nan_where_all_samples_agree() -> None:
    logits = torch.tensor([[[1.0, 0.0], [2.0, 0.0]], [[1.0, 0.0], [0.0, 0.0]]], requires_grad=True)
    predictive_std(logits.softmax(-1)).backward()
    assert (logits.grad[:, 0] == 0).all()
    assert (logits.grad[:, 1].abs() > 0).all()


def test_unbiased_needs_two_samples() -> None:
    one = torch.full((1, 3, 2), 0.5)
    assert predictive_variance(one) == 0
    with pytest.raises(InputError, match="unbiased: expected at least two samples to divide by S - 1"):
        predictive_variance(one, unbiased=True)


def test_reductions_of_classes_run_over_inputs_alone(generator: torch.Generator) -> None:
    probs = torch.randn(4, 9, 3, generator=generator).softmax(-1)
    each = predictive_variance(probs, of="classes", reduction="none")
    assert each.shape == (9, 3)
    torch.testing.assert_close(predictive_variance(probs, of="classes"), each.mean(0))
    torch.testing.assert_close(predictive_variance(probs, of="classes", reduction="sum"), each.sum(0))
