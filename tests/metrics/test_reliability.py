"""Reliability curve against scipy's Wilson interval, and the Brier decomposition against its identities."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest
from torch import Tensor

from tests.helpers.strategies import forecasts
from tsnn_uq.checks import InputError
from tsnn_uq.metrics.functional import (
    brier_decomposition,
    brier_score,
    expected_calibration_error,
    reliability_curve,
)

BINS = st.sampled_from([1, 3, 10, 16])


@given(forecasts(max_inputs=20), BINS, st.sampled_from([0.5, 0.95]))
def test_curve(forecast: tuple[Tensor, Tensor], bins: int, level: float) -> None:
    curve = reliability_curve(*forecast, bins, level=level)
    assert curve.edges.tolist() == [b / bins for b in range(bins + 1)]
    assert curve.count.sum() == len(forecast[0])
    for b, count in enumerate(curve.count.tolist()):
        point = [part[b].item() for part in (curve.confidence, curve.accuracy, curve.low, curve.high)]
        if count == 0:
            assert all(map(math.isnan, point))
            continue
        confidence, accuracy, low, high = point
        assert b / bins - 1e-12 <= confidence <= (b + 1) / bins + 1e-12
        interval = binomtest(round(accuracy * count), count).proportion_ci(level, method="wilson")
        assert (low, high) == pytest.approx((interval.low, interval.high), abs=1e-9)
    gap = (curve.confidence - curve.accuracy).abs().nan_to_num()
    ece = expected_calibration_error(*forecast, bins).item()
    assert (curve.count * gap).sum().item() / len(forecast[0]) == pytest.approx(ece, abs=1e-12)


def test_interval_stays_within_zero_and_one() -> None:
    """At shares of 0 and 1 Wilson's ends are 0 and 1, which rounding must not overstep."""
    for n, level in itertools.product(range(1, 60), [0.5, 0.8, 0.9, 0.95, 0.99]):
        for label, end in [(0, "high"), (1, "low")]:
            curve = reliability_curve(torch.tensor([[1.0, 0.0]] * n), torch.full((n,), label), bins=1, level=level)
            value = getattr(curve, end).item()
            assert 0 <= value <= 1
            assert value == pytest.approx(1 - label, abs=1e-12)


@pytest.mark.parametrize("level", [0, 1, -0.5, 95])
def test_level_must_leave_room(level: float) -> None:
    with pytest.raises(InputError, match="level: expected"):
        reliability_curve(torch.tensor([[0.5, 0.5]]), torch.tensor([0]), level=level)


@given(forecasts(max_inputs=20), BINS)
def test_three_parts_are_the_score_of_the_binned_forecast(forecast: tuple[Tensor, Tensor], bins: int) -> None:
    probs, target = (x.numpy() for x in forecast)
    truth = np.eye(probs.shape[1])[target]
    place = np.array([[max(b for b in range(bins) if b / bins <= p) for p in row] for row in probs])
    binned, within = np.empty_like(probs), 0.0
    for c in range(probs.shape[1]):
        for b in set(place[:, c]):
            rows = place[:, c] == b
            binned[rows, c] = probs[rows, c].mean()
            spread = probs[rows, c] - probs[rows, c].mean()
            within += np.sum(spread**2) - 2 * np.sum(spread * truth[rows, c])  # Stephenson et al. 2008
    parts = brier_decomposition(*forecast, bins)
    three = (parts.reliability - parts.resolution + parts.uncertainty).item()
    assert three == pytest.approx(np.sum((binned - truth) ** 2) / len(probs), abs=1e-12)
    assert parts.within_bins.item() == pytest.approx(within / len(probs), abs=1e-12)
    assert three + parts.within_bins.item() == pytest.approx(brier_score(*forecast).item(), abs=1e-12)


@given(forecasts(max_inputs=20), BINS)
def test_ranges_of_the_parts(forecast: tuple[Tensor, Tensor], bins: int) -> None:
    reliability, resolution, uncertainty, _ = (part.item() for part in brier_decomposition(*forecast, bins))
    rates = np.bincount(forecast[1], minlength=forecast[0].shape[1]) / len(forecast[1])
    assert uncertainty == pytest.approx(1 - np.sum(rates**2), abs=1e-12)
    assert reliability >= 0
    assert -1e-12 <= resolution <= uncertainty + 1e-12


def test_extremes_of_the_parts() -> None:
    target = torch.tensor([0, 1, 1, 0])
    base_rate = torch.full((4, 2), 0.5)
    assert [part.item() for part in brier_decomposition(base_rate, target)] == [0, 0, 0.5, 0]
    perfect = torch.eye(2)[target]
    assert [part.item() for part in brier_decomposition(perfect, target)] == [0, 0.5, 0.5, 0]
    inverted = torch.eye(2)[1 - target]
    assert [part.item() for part in brier_decomposition(inverted, target)] == [2, 0.5, 0.5, 0]
