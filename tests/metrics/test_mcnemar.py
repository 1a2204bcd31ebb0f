"""McNemar's test against exact fractions, scipy and its own error rate."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from tsnn_uq.checks import InputError
from tsnn_uq.metrics import McnemarTest
from tsnn_uq.metrics.functional import mcnemar_test

COUNTS = st.integers(0, 40)


def inputs(b: int, c: int, both: int = 3, neither: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    first = torch.tensor([1] * b + [0] * c + [1] * both + [0] * neither)
    return first, torch.tensor([0] * b + [1] * c + [1] * both + [0] * neither)


@given(COUNTS, COUNTS)
def test_against_exact_fractions(b: int, c: int) -> None:
    n, fewer = b + c, min(b, c)
    tail = sum(Fraction(math.comb(n, k), 2**n) for k in range(fewer + 1))
    seen = Fraction(math.comb(n, fewer), 2**n)
    result = mcnemar_test(*inputs(b, c))
    assert result.p_value.item() == pytest.approx(float(min(1, 2 * tail)), rel=1e-12)
    assert mcnemar_test(*inputs(b, c), mid_p=True).p_value.item() == pytest.approx(
        float(min(1, 2 * tail - seen)), rel=1e-12
    )
    assert (result.only_first.item(), result.only_second.item()) == (b, c)
    if n:
        assert result.p_value.item() == pytest.approx(binomtest(b, n).pvalue, rel=1e-12)


def test_large_counts() -> None:
    first, second = (correct.repeat(500) for correct in inputs(21, 20))
    assert mcnemar_test(first, second).p_value.item() == pytest.approx(binomtest(10_500, 20_500).pvalue, rel=1e-9)


def test_error_rate_of_the_test(generator: torch.Generator) -> None:
    """Where both models are equally good, p is below 0.05 at most that often, and with mid-p nearly that often."""
    small, smaller = [], []
    for _ in range(1000):
        first, second = (torch.rand(80, generator=generator) < 0.8 for _ in range(2))
        small.append(mcnemar_test(first, second).p_value.item() <= 0.05)
        smaller.append(mcnemar_test(first, second, mid_p=True).p_value.item() <= 0.05)
    assert np.mean(small) <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / 1000)
    assert np.mean(smaller) == pytest.approx(0.05, abs=4 * math.sqrt(0.05 * 0.95 / 1000))


def test_models_that_never_differ() -> None:
    assert mcnemar_test(*inputs(0, 0)).p_value == 1
    assert mcnemar_test(torch.ones(0), torch.ones(0)).p_value == 1
    assert mcnemar_test(*inputs(1, 0)).p_value == 1


def test_state_does_not_grow() -> None:
    metric = McnemarTest()
    for _ in range(5):
        metric.update(*inputs(3, 1))
        sizes = {name: state.numel() for name, state in metric.metric_state.items() if isinstance(state, torch.Tensor)}
        assert set(sizes.values()) == {1, 2}
    assert metric.compute().only_first == 15


def test_refuses_what_does_not_fit() -> None:
    good = torch.tensor([True, False])
    for first, second, message in [
        (good, good[:1], "second_correct: expected the same inputs as first_correct"),
        (good[None], good, r"first_correct: expected a tensor of shape \[N\]"),
        (good, torch.tensor([0, 2]), "second_correct: expected True or False"),
        (torch.tensor([math.nan, 0]), good, "first_correct: expected True or False"),
    ]:
        with pytest.raises(InputError, match=message):
            mcnemar_test(first, second)
