"""P-values against exact sums, and their validity by enumeration."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest

from tsnn_uq.stopping import p_values


def tail(losses: int, count: int, epsilon: float) -> float:
    rate = Fraction(epsilon)
    terms = (math.comb(count, k) * rate**k * (1 - rate) ** (count - k) for k in range(losses + 1))
    return float(sum(terms))


@pytest.mark.parametrize("epsilon", [0.01, 0.1, 0.5, 0.97])
def test_binomial_tail_against_exact_fractions(epsilon: float) -> None:
    for count in (1, 2, 7, 40):
        found = p_values(range(count + 1), count, epsilon, binary=True)
        assert found == pytest.approx([tail(k, count, epsilon) for k in range(count + 1)], rel=1e-10)


@pytest.mark.parametrize("epsilon", [0.05, 0.3])
def test_hoeffding_bentkus_against_its_formula(epsilon: float) -> None:
    count = 20
    for total in (0.0, 0.3, 1.0, 2.7, 6.0, 20.0):
        a = min(total / count, epsilon)
        h = (a * math.log(a / epsilon) if a else 0) + (1 - a) * math.log((1 - a) / (1 - epsilon))
        wanted = min(math.exp(-count * h), math.e * tail(math.ceil(total), count, epsilon), 1)
        assert p_values(total, count, epsilon, binary=False) == pytest.approx(wanted, rel=1e-10)


@pytest.mark.parametrize("binary", [True, False])
def test_small_p_values_are_as_rare_as_they_say(binary: bool) -> None:
    """Under the hypothesis P(p <= u) <= u, here for losses of 0 and 1 and any u that p can be."""
    for count, epsilon in [(1, 0.3), (12, 0.1), (50, 0.05)]:
        p = p_values(range(count + 1), count, epsilon, binary=binary)
        for rate in (epsilon + 1e-9, 1.5 * epsilon, 0.9):
            chance = np.diff([0.0, *(tail(k, count, rate) for k in range(count + 1))])
            assert all(chance[p <= u].sum() <= u + 1e-12 for u in p)


def test_no_losses_are_no_evidence() -> None:
    assert p_values([[0], [1]], [0, 1], 0.2, binary=True).tolist() == [[1.0, pytest.approx(0.8)], [1.0, 1.0]]
