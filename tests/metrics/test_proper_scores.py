"""Proper scores against loops, scikit-learn, and their own properness."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from sklearn.metrics import brier_score_loss, log_loss
from torch import Tensor

from tests.helpers.strategies import forecasts, mc_probabilities
from tsnn_uq.metrics import BrierScore
from tsnn_uq.metrics.functional import brier_score, negative_log_likelihood, predictive_variance


@given(forecasts())
def test_against_loops(forecast: tuple[Tensor, Tensor]) -> None:
    probs, target = forecast
    losses = negative_log_likelihood(probs, target, reduction="none")
    scores = brier_score(probs, target, reduction="none")
    for p, y, loss, score in zip(probs.tolist(), target.tolist(), losses.tolist(), scores.tolist(), strict=True):
        assert loss == (pytest.approx(-math.log(p[y]), rel=1e-12) if p[y] > 0 else math.inf)
        assert score == pytest.approx(sum((p_c - (c == y)) ** 2 for c, p_c in enumerate(p)), abs=1e-14)
        assert 0 <= score <= 2 + 1e-12


def test_against_scikit_learn(generator: torch.Generator) -> None:
    probs = torch.randn(200, 5, generator=generator, dtype=torch.float64).softmax(-1)
    target = torch.randint(5, (200,), generator=generator)
    labels = list(range(5))
    assert negative_log_likelihood(probs, target).item() == pytest.approx(log_loss(target, probs, labels=labels))
    wanted = brier_score_loss(target, probs, labels=labels, scale_by_half=False)
    assert brier_score(probs, target).item() == pytest.approx(wanted)


def test_extremes() -> None:
    sure = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    assert negative_log_likelihood(sure, torch.tensor([0, 1])) == 0
    assert negative_log_likelihood(sure, torch.tensor([1, 1])) == math.inf
    assert brier_score(sure, torch.tensor([0, 1])) == 0
    assert brier_score(sure, torch.tensor([1, 0])) == 2


def test_no_inputs_none() -> None:
    for metric in (negative_log_likelihood, brier_score):
        assert metric(torch.empty(0, 3), torch.empty(0, dtype=torch.long), reduction="none").shape == (0,)


@given(mc_probabilities())
def test_mean_prediction_beats_its_samples_by_the_variance(probs: Tensor) -> None:
    """The docstring's claim: mean of the samples' Brier scores = that of the mean + predictive variance."""
    target = torch.zeros(probs.shape[1], dtype=torch.long)
    samples = torch.stack([brier_score(sample, target, reduction="none") for sample in probs]).mean(0)
    of_mean = brier_score(probs.mean(0), target, reduction="none")
    torch.testing.assert_close(samples, of_mean + predictive_variance(probs, reduction="none"), rtol=0, atol=1e-14)
    metric = BrierScore(sample_dim=0)
    metric.update(probs, target)
    assert metric.compute().item() == pytest.approx(of_mean.mean().item(), abs=1e-14)
