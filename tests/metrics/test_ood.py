"""Detection of out-of-distribution inputs against scikit-learn and against loops over thresholds."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score
from torch import Tensor

from tests.helpers.strategies import ood_scores
from tsnn_uq.checks import InputError
from tsnn_uq.metrics import OodAuroc
from tsnn_uq.metrics.functional import fpr_at_tpr, ood_aupr_in, ood_aupr_out, ood_auroc


@given(ood_scores())
def test_against_scikit_learn(scores: tuple[Tensor, Tensor]) -> None:
    values = torch.cat(scores).nan_to_num(posinf=1e3).numpy()
    out = np.repeat([0, 1], [len(part) for part in scores])
    assert ood_auroc(*scores).item() == pytest.approx(roc_auc_score(out, values), abs=1e-12)
    assert ood_aupr_out(*scores).item() == pytest.approx(average_precision_score(out, values), abs=1e-12)
    assert ood_aupr_in(*scores).item() == pytest.approx(average_precision_score(1 - out, -values), abs=1e-12)


@given(ood_scores(), st.sampled_from([0.01, 0.5, 2 / 3, 0.95, 1.0]))
def test_fpr_against_all_thresholds(scores: tuple[Tensor, Tensor], tpr: float) -> None:
    """Flag what is at least as uncertain as the threshold; of the thresholds that catch enough the best counts."""
    inside, outside = (part.numpy() for part in scores)
    rates = [np.mean(inside >= t) for t in [*inside, *outside] if np.mean(outside >= t) >= tpr - 1e-12]
    assert fpr_at_tpr(*scores, tpr=tpr).item() == pytest.approx(min(rates), abs=1e-12)


@given(ood_scores())
def test_roles_exchanged(scores: tuple[Tensor, Tensor]) -> None:
    inside, outside = scores
    assert ood_auroc(outside, inside).item() == pytest.approx(1 - ood_auroc(inside, outside).item(), abs=1e-12)
    assert ood_aupr_in(inside, outside).item() == pytest.approx(ood_aupr_out(-outside, -inside).item(), abs=1e-12)


@pytest.mark.parametrize("m", [20, 60, 100])
def test_needed_catches_are_rounded_up_whatever_the_binary_fraction(m: int) -> None:
    outside = torch.arange(m, 0, -1).double()
    inside = outside - 0.5  # flags k - 1 in-distribution inputs with the k-th threshold
    for percent in range(1, 101):
        needed = math.ceil(Fraction(percent * m, 100))
        assert fpr_at_tpr(inside, outside, tpr=percent / 100).item() == pytest.approx((needed - 1) / m, abs=1e-12)


def test_extremes() -> None:
    low, high, tied = torch.tensor([0.1, 0.2]), torch.tensor([0.3, math.inf, 0.9]), torch.full((3,), 0.5)
    assert [metric(low, high).item() for metric in (ood_auroc, ood_aupr_in, ood_aupr_out)] == [1, 1, 1]
    assert ood_auroc(high, low) == 0
    assert fpr_at_tpr(low, high) == 0
    assert fpr_at_tpr(high, low) == 1
    # All tied: guessing, and no threshold parts them.
    assert ood_auroc(tied, tied[:1]) == 0.5
    assert ood_aupr_out(tied, tied[:1]) == 0.25
    assert ood_aupr_in(tied, tied[:1]) == 0.75
    assert fpr_at_tpr(tied, tied[:1]) == 1


@pytest.mark.parametrize("metric", [ood_auroc, ood_aupr_in, ood_aupr_out, fpr_at_tpr])
def test_refuses_what_does_not_fit(metric) -> None:
    good = torch.tensor([0.1, 0.2])
    for inside, outside, message in [
        (good * math.nan, good, "in_uncertainty: expected numbers that can be ranked"),
        (good, good[None], r"out_uncertainty: expected a tensor of shape \[N\]"),
        (good[:0], good, "in_uncertainty: expected at least one input"),
        (good, good[:0], "out_uncertainty: expected at least one input"),
    ]:
        with pytest.raises(InputError, match=message):
            metric(inside, outside)


def test_batches_of_one_kind() -> None:
    metric, none = OodAuroc(), torch.empty(0)
    metric.update(torch.tensor([0.1, 0.2]), none)
    with pytest.raises(InputError, match="out_uncertainty: expected at least one input"):
        metric.compute()
    metric.update(none, torch.tensor([0.2, 0.3, 0.4]))
    assert metric.compute().item() == pytest.approx(5.5 / 6)
