"""Risk-coverage curve and its points against all orders that ties allow."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from tests.helpers.strategies import selective_inputs
from tsnn_uq.checks import InputError
from tsnn_uq.metrics import Aurc
from tsnn_uq.metrics.functional import (
    accuracy_at_coverage,
    augrc,
    aurc,
    coverage_at_risk,
    excess_aurc,
    risk_coverage_curve,
)


def expected_risks(uncertainty: Tensor, correct: Tensor) -> np.ndarray:
    """Selective risk at each k, averaged over every order of the rows that does not contradict the uncertainties."""
    pairs = list(zip(uncertainty.tolist(), correct.tolist(), strict=True))
    risks = []
    for order in itertools.permutations(pairs):
        if all(one[0] <= other[0] for one, other in itertools.pairwise(order)):
            wrong = np.cumsum([not right for _, right in order])
            risks.append(wrong / np.arange(1, len(order) + 1))
    return np.mean(risks, axis=0)


@given(selective_inputs(max_inputs=6))
def test_curve_is_the_mean_over_all_orders_of_the_ties(inputs: tuple[Tensor, Tensor]) -> None:
    curve = risk_coverage_curve(*inputs)
    n = len(inputs[0])
    np.testing.assert_allclose(curve.risk, expected_risks(*inputs), atol=1e-12)
    assert curve.coverage.tolist() == [k / n for k in range(1, n + 1)]
    assert curve.threshold.tolist() == sorted(inputs[0].tolist())


@given(selective_inputs(), st.sampled_from([0.001, 0.1, 0.25, 1 / 3, 0.5, 0.9, 1.0]))
def test_points_lie_on_the_curve(inputs: tuple[Tensor, Tensor], share: float) -> None:
    curve, n = risk_coverage_curve(*inputs), len(inputs[0])
    accepted = next(k for k in range(1, n + 1) if k / n >= share - 1e-12)
    accuracy = accuracy_at_coverage(*inputs, coverage=share).item()
    assert accuracy == pytest.approx(1 - curve.risk[accepted - 1].item(), abs=1e-12)
    allowed = [c for c, r in zip(curve.coverage.tolist(), curve.risk.tolist(), strict=True) if r <= share + 1e-9]
    assert coverage_at_risk(*inputs, risk=share).item() == max(allowed, default=0)


@pytest.mark.parametrize("n", [7, 20, 100])
def test_coverage_is_rounded_up_to_whole_inputs_whatever_the_binary_fraction(n: int) -> None:
    uncertainty, correct = torch.arange(n).double(), torch.ones(n)
    for percent in range(1, 101):
        wanted = math.ceil(Fraction(percent * n, 100))
        correct.fill_(1)[wanted - 1] = 0  # the last input accepted is the only error
        value = accuracy_at_coverage(uncertainty, correct, coverage=percent / 100)
        assert value.item() == pytest.approx(1 - 1 / wanted, abs=1e-12)


def test_extremes() -> None:
    uncertainty = torch.tensor([0.1, 0.2, 0.3])
    right, wrong = torch.ones(3), torch.zeros(3)
    assert coverage_at_risk(uncertainty, right, risk=0) == 1
    assert coverage_at_risk(uncertainty, wrong, risk=0.5) == 0
    assert coverage_at_risk(uncertainty, wrong, risk=1) == 1
    assert accuracy_at_coverage(uncertainty, wrong) == 0
    one = torch.tensor([math.inf]), torch.tensor([False])
    assert [metric(*one).item() for metric in (aurc, excess_aurc, augrc)] == [1, 0, 0.5]


@pytest.mark.parametrize("metric", [aurc, augrc, excess_aurc, risk_coverage_curve, accuracy_at_coverage])
def test_refuses_what_does_not_fit(metric) -> None:
    uncertainty, correct = torch.tensor([0.1, 0.2]), torch.tensor([True, False])
    for bad_uncertainty, bad_correct, message in [
        (uncertainty * math.nan, correct, "uncertainty: expected numbers that can be ranked"),
        (uncertainty[None], correct, r"uncertainty: expected a tensor of shape \[N\]"),
        (uncertainty, correct[:1], "correct: expected 2 values, one per input"),
        (uncertainty, correct[None], r"correct: expected a tensor of shape \[N\]"),
        (uncertainty, torch.tensor([0, 2]), "correct: expected True or False"),
        (uncertainty[:0], correct[:0], "uncertainty: expected at least one input"),
    ]:
        with pytest.raises(InputError, match=message):
            metric(bad_uncertainty, bad_correct)
    with pytest.raises(InputError, match="uncertainty: expected numbers"):
        Aurc().update(uncertainty * math.nan, correct)
