"""Areas against all orders of tied inputs, and against their identities."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from sklearn.metrics import roc_auc_score
from torch import Tensor

from tests.helpers.strategies import selective_inputs
from tests.metrics.test_selective import expected_risks
from tsnn_uq.metrics.functional import augrc, aurc, excess_aurc


@given(selective_inputs(max_inputs=6))
def test_against_all_orders(inputs: tuple[Tensor, Tensor]) -> None:
    risks, n = expected_risks(*inputs), len(inputs[0])
    perfect = expected_risks(1 - inputs[1].double(), inputs[1])  # every error after every right prediction
    errors = np.concatenate([[0], risks * np.arange(1, n + 1) / n])
    assert aurc(*inputs).item() == pytest.approx(risks.mean(), abs=1e-12)
    assert excess_aurc(*inputs).item() == pytest.approx(risks.mean() - perfect.mean(), abs=1e-12)
    assert augrc(*inputs).item() == pytest.approx(np.trapezoid(errors, dx=1 / n), abs=1e-12)


@given(selective_inputs())
def test_generalized_area_by_auroc_and_accuracy(inputs: tuple[Tensor, Tensor]) -> None:
    """The identity of Traub et al. 2024; scikit-learn counts ties half as well."""
    uncertainty, correct = inputs[0].nan_to_num(posinf=9.0), inputs[1]
    accuracy = correct.double().mean().item()
    auroc = roc_auc_score(~correct, uncertainty) if 0 < accuracy < 1 else 0.5
    wanted = (1 - auroc) * accuracy * (1 - accuracy) + (1 - accuracy) ** 2 / 2
    assert augrc(*inputs).item() == pytest.approx(wanted, abs=1e-12)


@given(selective_inputs())
def test_ranges(inputs: tuple[Tensor, Tensor]) -> None:
    error = 1 - inputs[1].double().mean().item()
    assert -1e-12 <= excess_aurc(*inputs).item() <= aurc(*inputs).item() <= 1
    assert error**2 / 2 - 1e-12 <= augrc(*inputs).item() <= error - error**2 / 2 + 1e-12


def test_ties_do_not_hang_on_the_order_of_the_rows() -> None:
    """One set, all tied: read in row order the area would be 0.82 or 0.18; the mean over orders is the error rate."""
    uncertainty, wrong_first = torch.zeros(10), torch.tensor([0] * 5 + [1] * 5)
    naive = [
        (1 - x.double()).cumsum(0).div(torch.arange(1, 11)).mean().item() for x in (wrong_first, wrong_first.flip(0))
    ]
    assert naive == pytest.approx([0.82, 0.18], abs=0.005)
    for correct in (wrong_first, wrong_first.flip(0)):
        assert aurc(uncertainty, correct).item() == pytest.approx(0.5, abs=1e-12)


def test_large_sets_are_close_to_the_integral(generator: torch.Generator) -> None:
    """With errors last at rate r the area tends to r + (1 - r) log(1 - r) (Geifman et al. 2019)."""
    uncertainty = torch.rand(200_000, generator=generator, dtype=torch.float64)
    correct = uncertainty < 0.8
    r = 1 - correct.double().mean().item()
    assert aurc(uncertainty, correct).item() == pytest.approx(r + (1 - r) * math.log(1 - r), abs=1e-5)
    assert excess_aurc(uncertainty, correct).item() == pytest.approx(0, abs=1e-12)
