"""The smooth calibration error against kernel sums over images of the points, and its own definition."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from scipy.optimize import brentq
from torch import Tensor

from tests.helpers.strategies import forecasts
from tsnn_uq.checks import InputError
from tsnn_uq.metrics import SmoothCalibrationError
from tsnn_uq.metrics.functional import expected_calibration_error, smooth_calibration_error
from tsnn_uq.metrics.smooth_calibration import _cosine_sums, _mean_absolute


def smoothed_error(confidence: np.ndarray, hit: np.ndarray, width: float, points: int = 2001) -> float:
    """The integral by trapezoids; the reflected kernel as the sum over mirror images of each point."""
    t = np.linspace(0, 1, points)[:, None]
    images = range(-math.ceil(4 * width) - 1, math.ceil(4 * width) + 2)
    kernel = sum(
        np.exp(-((t - mirrored) ** 2) / (2 * width**2))
        for k in images
        for mirrored in (2 * k + confidence, 2 * k - confidence)
    )
    smoothed = kernel @ (hit - confidence) / (math.sqrt(2 * math.pi) * width * len(confidence))
    return float(np.trapezoid(abs(smoothed), t[:, 0]))


def by_kernels(confidence: np.ndarray, hit: np.ndarray) -> float:
    return brentq(lambda width: smoothed_error(confidence, hit, width) - width, 1e-3, 1, xtol=1e-8)


def split(probs: Tensor, target: Tensor) -> tuple[np.ndarray, np.ndarray]:
    confidence, predicted = probs.max(-1)
    return confidence.numpy(), (predicted == target).numpy()


@pytest.mark.parametrize(("scale", "inputs"), [(0.3, 1), (1.0, 7), (0.3, 40), (2.0, 40)])
def test_against_kernel_sums(scale: float, inputs: int, generator: torch.Generator) -> None:
    probs = (scale * torch.randn(inputs, 4, generator=generator, dtype=torch.float64)).softmax(-1)
    target = torch.randint(4, (inputs,), generator=generator)
    assert smooth_calibration_error(probs, target).item() == pytest.approx(by_kernels(*split(probs, target)), rel=3e-5)
    per_class = [by_kernels(probs[:, c].numpy(), (target == c).numpy()) for c in range(4)]
    value = smooth_calibration_error(probs, target, of="classes").item()
    assert value == pytest.approx(np.mean(per_class), rel=3e-5)


@settings(max_examples=15)
@given(forecasts())
def test_against_kernel_sums_on_awkward_inputs(forecast: tuple[Tensor, Tensor]) -> None:
    """Ties, bin edges, zeros and ones, most of them on the grid of the integral."""
    confidence, hit = split(*forecast)
    value = smooth_calibration_error(*forecast).item()
    if value > 2e-3:
        assert value == pytest.approx(by_kernels(confidence, hit), abs=1e-5)
    else:
        assert smoothed_error(confidence, hit, 3e-3) < 3e-3  # the kernels too find the root below
    assert 0 <= value <= np.abs(hit - confidence).mean() + 1e-9


@pytest.mark.parametrize("width", [0.001, 0.03, 1.0])
def test_smoothed_residuals_at_any_width(width: float, generator: torch.Generator) -> None:
    confidence = torch.rand(60, 1, generator=generator, dtype=torch.float64).sqrt()
    hit = torch.rand(60, 1, generator=generator) < 0.7
    ours = _mean_absolute(_cosine_sums(confidence, hit) / 60, torch.tensor([width], dtype=torch.float64)).item()
    theirs = smoothed_error(confidence[:, 0].numpy(), hit[:, 0].numpy(), width, points=40001)
    assert ours == pytest.approx(theirs, rel=3e-6)


def test_cosine_sums_against_loop(generator: torch.Generator) -> None:
    confidence = torch.rand(2100, 9, generator=generator, dtype=torch.float64)  # more than one block of either
    hit = torch.rand(2100, 9, generator=generator) < 0.5
    sums = _cosine_sums(confidence, hit)
    for k in (0, 1, 63, 64, 1000, 4095):
        wanted = ((hit.double() - confidence) * (math.pi * k * confidence).cos()).sum(0)
        torch.testing.assert_close(sums[:, k], wanted, rtol=0, atol=1e-8)


def test_extremes() -> None:
    sure, right = torch.eye(3).repeat(4, 1), torch.arange(3).repeat(4)
    assert smooth_calibration_error(sure, right).item() == pytest.approx(0, abs=1e-12)
    # Where some classes have no error and others do.
    mixed = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.5, 0.5]])
    assert smooth_calibration_error(mixed, torch.tensor([0, 1]), of="classes") > 0
    # One confidence, always wrong: the residuals have one sign, so smoothing changes nothing.
    assert smooth_calibration_error(sure, (right + 1) % 3).item() == pytest.approx(1, abs=1e-9)
    one = torch.tensor([[0.75, 0.25]])
    assert smooth_calibration_error(one, torch.tensor([0])).item() == pytest.approx(0.25, abs=1e-9)


def test_continuous_where_bins_jump() -> None:
    """Two inputs on either side of a bin edge: the binned error halves when they meet, the smooth one hardly moves."""
    target = torch.tensor([0, 1])
    apart = torch.tensor([[0.599999, 0.400001], [0.6, 0.4]], dtype=torch.float64)
    together = torch.tensor([[0.6, 0.4], [0.6, 0.4]], dtype=torch.float64)
    jump = expected_calibration_error(apart, target, 10) - expected_calibration_error(together, target, 10)
    assert jump.abs() > 0.3
    step = smooth_calibration_error(apart, target) - smooth_calibration_error(together, target)
    assert step.abs() < 1e-5


def test_bound_by_the_unsmoothed_error(generator: torch.Generator) -> None:
    """With each confidence in a group of its own, the error before smoothing is an upper bound at any width."""
    levels = torch.tensor([0.55, 0.7, 0.9, 1.0], dtype=torch.float64)
    confidence = levels[torch.randint(4, (4000,), generator=generator)]
    probs = torch.stack([confidence, 1 - confidence], 1)
    target = (torch.rand(4000, generator=generator, dtype=torch.float64) > 0.8 * confidence).long()
    exact = expected_calibration_error(probs, target, 20)  # one level a bin
    assert 0.5 * exact < smooth_calibration_error(probs, target) < exact + 1e-9


def test_refuses_what_does_not_fit() -> None:
    probs, target = torch.full((3, 4), 0.25), torch.tensor([0, 1, 3])
    with pytest.raises(InputError, match="apply softmax first"):
        smooth_calibration_error(10 * probs, target)
    with pytest.raises(InputError, match="of: expected one of"):
        SmoothCalibrationError(of="top")
    with pytest.raises(InputError, match="at least one input"):
        smooth_calibration_error(probs[:0], target[:0])


def test_class_averages_over_samples_first(generator: torch.Generator) -> None:
    probs = torch.randn(3, 20, 4, generator=generator, dtype=torch.float64).softmax(-1)
    target = torch.randint(4, (20,), generator=generator)
    metric = SmoothCalibrationError(sample_dim=0)
    metric.update(probs, target)
    assert metric.compute().item() == pytest.approx(smooth_calibration_error(probs.mean(0), target).item(), abs=1e-12)
