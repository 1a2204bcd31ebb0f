"""Calibration errors over all classes against loops over classes, bins and ranges."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from tests.helpers.strategies import forecasts
from tsnn_uq.metrics import AdaptiveCalibrationError, ClasswiseCalibrationError
from tsnn_uq.metrics.functional import adaptive_calibration_error, classwise_calibration_error


@given(forecasts(), st.sampled_from([1, 2, 10, 16]))
def test_classwise_against_loops(forecast: tuple[Tensor, Tensor], bins: int) -> None:
    probs, target = (x.numpy() for x in forecast)
    errors = []
    for c in range(probs.shape[1]):
        error = 0.0
        for b in range(bins):
            inside = (b / bins <= probs[:, c]) & ((probs[:, c] < (b + 1) / bins) | (b == bins - 1))
            if inside.any():
                error += inside.mean() * abs(probs[inside, c].mean() - (target[inside] == c).mean())
        errors.append(error)
    assert classwise_calibration_error(*forecast, bins).item() == pytest.approx(np.mean(errors), abs=1e-12)


@given(forecasts(), st.sampled_from([1, 2, 3, 10]))
def test_adaptive_against_loops(forecast: tuple[Tensor, Tensor], bins: int) -> None:
    probs, target = (x.numpy() for x in forecast)
    n, errors = len(probs), []
    for c in range(probs.shape[1]):
        truth = np.array([(target[probs[:, c] == p] == c).mean() for p in probs[:, c]])  # averaged over ties
        order, ranges = np.argsort(probs[:, c]), {}
        for rank, row in enumerate(order):
            ranges.setdefault(rank * bins // n, []).append(row)
        errors.append(np.mean([abs(np.mean(probs[rows, c] - truth[rows])) for rows in ranges.values()]))
    assert adaptive_calibration_error(*forecast, bins).item() == pytest.approx(np.mean(errors), abs=1e-12)


@given(forecasts(), st.sampled_from([1, 2, 3, 10]))
def test_adaptive_error_of_the_predicted_class(forecast: tuple[Tensor, Tensor], bins: int) -> None:
    """It is that of a problem of one class, whose truth is whether the prediction is right."""
    probs, target = forecast
    confidence, predicted = (x.numpy() for x in probs.max(-1))
    hit, n, ranges = predicted == target.numpy(), len(target), {}
    truth = np.array([hit[confidence == p].mean() for p in confidence])
    for rank, row in enumerate(np.argsort(confidence)):
        ranges.setdefault(rank * bins // n, []).append(row)
    wanted = np.mean([abs(np.mean(confidence[rows] - truth[rows])) for rows in ranges.values()])
    assert adaptive_calibration_error(probs, target, bins, of="predicted").item() == pytest.approx(wanted, abs=1e-12)


@given(forecasts(), st.randoms(use_true_random=False))
def test_inputs_and_classes_come_in_any_order(forecast: tuple[Tensor, Tensor], random) -> None:
    probs, target = forecast
    inputs, classes = (torch.tensor(random.sample(range(n), n)) for n in probs.shape)
    moved = probs[inputs][:, classes], torch.argsort(classes)[target[inputs]]
    for metric in (classwise_calibration_error, adaptive_calibration_error):
        value = metric(probs, target, 4).item()
        assert metric(*moved, 4).item() == pytest.approx(value, abs=1e-12)
        assert 0 <= value <= 1 + 1e-12


def test_adaptive_ranges_hold_equal_mass() -> None:
    """Without ties: the sorted probabilities in chunks, as numpy splits them, and each chunk weighs the same."""
    up = np.arange(1, 13) / 13
    probs = torch.tensor(np.stack([up, 1 - up], 1)[::-1].copy())
    target = torch.tensor([0, 0, 1, 0, 1, 0, 0, 1, 1, 0, 1, 1])
    truth = (target.numpy() == 0)[::-1]  # in the order of `up`
    chunks = np.array_split(np.arange(12), 4)
    wanted = np.mean([abs(up[rows].mean() - truth[rows].mean()) for rows in chunks])
    assert adaptive_calibration_error(probs, target, 4).item() == pytest.approx(wanted, abs=1e-12)


def test_saturated_confidences() -> None:
    """All confidences 0 or 1, where netcal's equal-mass bins raise: the mean gap is the error rate of each class."""
    probs, target = torch.eye(2)[[0, 0, 0, 0, 1]], torch.tensor([0, 0, 0, 1, 1])
    # Class 0: four times 1 with three hits (gap 1/4 in 4 of 5 ranges), once 0 with none. Class 1 mirrors it.
    assert adaptive_calibration_error(probs, target, 5).item() == pytest.approx(0.2)
    assert classwise_calibration_error(probs, target).item() == pytest.approx(0.2)


def test_classes_average_over_samples_first(generator: torch.Generator) -> None:
    probs = torch.randn(3, 20, 4, generator=generator, dtype=torch.float64).softmax(-1)
    target = torch.randint(4, (20,), generator=generator)
    for metric, function in [
        (ClasswiseCalibrationError(5, sample_dim=0), classwise_calibration_error),
        (AdaptiveCalibrationError(5, sample_dim=0), adaptive_calibration_error),
    ]:
        metric.update(probs, target)
        assert metric.compute().item() == pytest.approx(function(probs.mean(0), target, 5).item(), abs=1e-12)
