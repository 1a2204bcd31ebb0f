"""Calibration errors of the predicted class against loops, netcal and simulated truth."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torchmetrics.functional.classification import multiclass_calibration_error

from tests.helpers.strategies import forecasts
from tsnn_uq.metrics.functional import (
    adaptive_calibration_error,
    debiased_calibration_error,
    expected_calibration_error,
    maximum_calibration_error,
    overconfidence_error,
    rms_calibration_error,
    underconfidence_error,
)


def bins_by_loop(probs: Tensor, target: Tensor, bins: int) -> list[tuple[int, float, float]]:
    """(count, accuracy, confidence) of each bin that is not empty, from the definition [lo, hi), the last closed."""
    found = []
    for b in range(bins):
        inside = [
            (max(row), row.index(max(row)) == y)
            for row, y in zip(probs.tolist(), target.tolist(), strict=True)
            if b / bins <= max(row) < (b + 1) / bins or (b == bins - 1 and max(row) == 1)
        ]
        if inside:
            found.append((len(inside), np.mean([hit for _, hit in inside]), np.mean([conf for conf, _ in inside])))
    return found


@given(forecasts(), st.sampled_from([1, 2, 10, 15, 16]))
def test_against_loops(forecast: tuple[Tensor, Tensor], bins: int) -> None:
    found, n = bins_by_loop(*forecast, bins), len(forecast[0])
    gaps = [(count / n, abs(accuracy - confidence)) for count, accuracy, confidence in found]
    squared = sum(
        count / n * ((accuracy - confidence) ** 2 - accuracy * (1 - accuracy) / (count - 1))
        for count, accuracy, confidence in found
        if count > 1
    )
    ece, mce = expected_calibration_error(*forecast, bins).item(), maximum_calibration_error(*forecast, bins).item()
    rms = rms_calibration_error(*forecast, bins).item()
    assert ece == pytest.approx(sum(weight * gap for weight, gap in gaps), abs=1e-12)
    assert mce == pytest.approx(max(gap for _, gap in gaps), abs=1e-12)
    assert rms == pytest.approx(math.sqrt(sum(weight * gap**2 for weight, gap in gaps)), abs=1e-12)
    assert debiased_calibration_error(*forecast, bins, squared=True).item() == pytest.approx(squared, abs=1e-12)
    assert debiased_calibration_error(*forecast, bins).item() == pytest.approx(math.sqrt(max(squared, 0)), abs=1e-7)
    assert 0 <= ece <= rms + 1e-12
    assert rms <= mce + 1e-12 <= 1 + 2e-12


@given(forecasts(), st.sampled_from([1, 2, 10, 15]), st.sampled_from(["predicted", "classes"]))
def test_over_and_underconfidence_add_up(forecast: tuple[Tensor, Tensor], bins: int, of: str) -> None:
    over, under, both = (
        metric(*forecast, bins, of=of).item()
        for metric in (overconfidence_error, underconfidence_error, expected_calibration_error)
    )
    assert over + under == pytest.approx(both, abs=1e-12)
    assert min(over, under) >= 0
    probs, target = forecast
    if of == "predicted":
        bias = (probs.amax(-1) - (probs.argmax(-1) == target).double()).mean().item()
        assert over - under == pytest.approx(bias, abs=1e-12)
        found = bins_by_loop(*forecast, bins)
        surer = sum(count * (conf - accuracy) for count, accuracy, conf in found if conf > accuracy)
        assert over == pytest.approx(surer / len(target), abs=1e-12)
    else:
        assert over == pytest.approx(under, abs=1e-12) or probs.shape[1] > 1
        assert over - under == pytest.approx(0, abs=1e-12)  # the probabilities sum to one, and so do the truths


@given(forecasts(), st.sampled_from([1, 2, 10, 15]))
def test_all_classes_are_binary_problems(forecast: tuple[Tensor, Tensor], bins: int) -> None:
    """Each class's probability p as the confidence of a problem of two classes, of which the first is predicted."""
    probs, target = forecast
    errors: dict[str, list[float]] = {"l1": [], "max": [], "l2": [], "debiased": []}
    for c in range(probs.shape[1]):
        p, hit = probs[:, c], (target == c).double()
        groups = [rows for b in range(bins) if (rows := [i for i, x in enumerate(p.tolist()) if place(x, bins) == b])]
        gaps = [(len(rows) / len(p), abs(p[rows].mean() - hit[rows].mean()).item()) for rows in groups]
        noise = [hit[rows].var(correction=0).item() / (len(rows) - 1) if len(rows) > 1 else math.nan for rows in groups]
        errors["l1"].append(sum(w * gap for w, gap in gaps))
        errors["max"].append(max(gap for _, gap in gaps))
        errors["l2"].append(sum(w * gap**2 for w, gap in gaps))
        errors["debiased"].append(
            sum(w * (gap**2 - n) for (w, gap), n in zip(gaps, noise, strict=True) if not math.isnan(n))
        )
    values = [
        expected_calibration_error(*forecast, bins, of="classes"),
        maximum_calibration_error(*forecast, bins, of="classes"),
        rms_calibration_error(*forecast, bins, of="classes").square(),
        debiased_calibration_error(*forecast, bins, of="classes", squared=True),
    ]
    wanted = [np.mean(errors["l1"]), max(errors["max"]), np.mean(errors["l2"]), np.mean(errors["debiased"])]
    assert [value.item() for value in values] == pytest.approx(wanted, abs=1e-12)


def place(confidence: float, bins: int) -> int:
    return max(b for b in range(bins) if b / bins <= confidence)


@given(forecasts(), st.randoms(use_true_random=False))
def test_inputs_and_classes_come_in_any_order(forecast: tuple[Tensor, Tensor], random) -> None:
    probs, target = forecast
    inputs, classes = (torch.tensor(random.sample(range(n), n)) for n in probs.shape)
    for metric in (expected_calibration_error, debiased_calibration_error):
        value = metric(probs, target).item()
        assert metric(probs[inputs], target[inputs]).item() == pytest.approx(value, abs=1e-7)
        if not (probs == probs.amax(-1, keepdim=True)).sum(-1).gt(1).any():  # of tied classes the first counts
            moved = metric(probs[:, classes], torch.argsort(classes)[target])
            assert moved.item() == pytest.approx(value, abs=1e-7)


@pytest.mark.parametrize("bins", [4, 16])
def test_against_netcal(bins: int, generator: torch.Generator) -> None:
    """Random confidences, and the multiples of 1/16 with 0.5 and 1 among them, on which netcal's edges are exact."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # netcal's imports are not our business
        from netcal.metrics import ECE, MCE

    smooth = torch.randn(300, 4, generator=generator, dtype=torch.float64).mul(2).softmax(-1)
    top = torch.randint(9, 17, (300,), generator=generator) / 16
    edges = torch.stack([top, 1 - top, 0 * top, 0 * top], 1).double()
    for probs in (smooth, edges):
        target = torch.multinomial(probs, 1, generator=generator).squeeze(-1)
        target[:4] = torch.arange(4)  # netcal needs more than two of the labels
        ece, mce = ECE(bins).measure(probs.numpy(), target.numpy()), MCE(bins).measure(probs.numpy(), target.numpy())
        assert expected_calibration_error(probs, target, bins).item() == pytest.approx(ece, abs=1e-12)
        assert maximum_calibration_error(probs, target, bins).item() == pytest.approx(mce, abs=1e-12)


def test_confidence_one_has_no_bin_of_its_own() -> None:
    """torchmetrics (issue 3510) bins 1.0 apart from 0.95: |0.95 - 1| / 2 + |1 - 0| / 2 instead of |0.975 - 0.5|."""
    probs, target = torch.tensor([[0.95, 0.05], [1.0, 0.0]], dtype=torch.float64), torch.tensor([0, 1])
    assert expected_calibration_error(probs, target, 10).item() == pytest.approx(0.475, abs=1e-12)
    theirs = multiclass_calibration_error(probs, target, num_classes=2, n_bins=10)  # in float32
    assert theirs.item() == pytest.approx(0.525, abs=1e-6)


def test_netcal_has_another_ace_and_cannot_do_ours_where_confidences_saturate() -> None:
    """Its ACE is the mean over *non-empty* equal-width bins, unweighted; its equal-mass bins want distinct edges."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from netcal.metrics import ACE, ECE

    probs = torch.tensor([[0.9, 0.1, 0.0]] * 9 + [[0.5, 0.3, 0.2]], dtype=torch.float64)
    target = torch.tensor([0] * 6 + [1, 1, 2] + [0])
    gaps = (0.9 - 6 / 9, 1 - 0.5)
    assert ACE(4).measure(probs.numpy(), target.numpy()) == pytest.approx(sum(gaps) / 2)
    assert expected_calibration_error(probs, target, 4).item() == pytest.approx(0.9 * gaps[0] + 0.1 * gaps[1])
    # Equal mass, with equal confidences in several ranges: 5 ranges of 2, the lowest of which holds 0.5 and one 0.9.
    lowest = abs((0.5 - 1 + gaps[0]) / 2)
    assert adaptive_calibration_error(probs, target, 5, of="predicted").item() == pytest.approx(
        (lowest + 4 * gaps[0]) / 5
    )
    sure = torch.eye(3, dtype=torch.float64)[[0] * 8 + [1, 2]]
    with pytest.raises(ValueError, match="smallest edge difference is numerically 0"):
        ECE(5, equal_intervals=False).measure(sure.numpy(), target.numpy())
    assert 0 <= adaptive_calibration_error(sure, target, 5) <= 1


def test_same_as_torchmetrics_where_conventions_agree(generator: torch.Generator) -> None:
    probs = torch.randn(500, 4, generator=generator, dtype=torch.float64).softmax(-1)
    target = torch.randint(4, (500,), generator=generator)
    for metric, norm in [
        (expected_calibration_error, "l1"),
        (rms_calibration_error, "l2"),
        (maximum_calibration_error, "max"),
    ]:
        theirs = multiclass_calibration_error(probs, target, num_classes=4, n_bins=15, norm=norm)
        assert metric(probs, target).item() == pytest.approx(theirs.item(), abs=1e-6)  # theirs is float32


def test_extremes() -> None:
    sure = torch.eye(3).repeat(4, 1)
    right = torch.arange(3).repeat(4)
    for metric in (expected_calibration_error, maximum_calibration_error, rms_calibration_error):
        assert metric(sure, right) == 0
        assert metric(sure, (right + 1) % 3) == 1
    assert debiased_calibration_error(sure, right) == 0
    assert debiased_calibration_error(sure[:1], right[:1]) == 0  # one input in its bin tells nothing


def test_debiased_error_is_right_on_average_where_the_plain_one_is_too_high(generator: torch.Generator) -> None:
    """1000 data sets of 60 inputs, half with confidence 0.7 and accuracy 0.6, half with 0.9 and 0.9: E^2 is 0.005."""
    confidence = torch.tensor([0.7, 0.9], dtype=torch.float64).repeat(30)
    accuracy = torch.tensor([0.6, 0.9], dtype=torch.float64).repeat(30)
    probs = torch.stack([confidence, 1 - confidence], 1)
    plain, debiased = [], []
    for _ in range(1000):
        target = (torch.rand(60, generator=generator, dtype=torch.float64) > accuracy).long()
        plain.append(rms_calibration_error(probs, target, 10).item() ** 2)
        debiased.append(debiased_calibration_error(probs, target, 10, squared=True).item())
    standard_error = np.std(debiased) / math.sqrt(1000)
    assert np.mean(debiased) == pytest.approx(0.005, abs=3 * standard_error)
    assert np.mean(plain) > 0.005 + 10 * standard_error
