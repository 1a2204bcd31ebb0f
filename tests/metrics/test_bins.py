"""Which bin a confidence belongs to, and what is summed there."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from tests.helpers.strategies import forecasts
from tsnn_uq.metrics.bins import bin_sums


def bin_of(confidence: float, bins: int) -> int:
    """The bin by its definition: the last one whose lower edge is not above the confidence."""
    return max(b for b in range(bins) if b / bins <= confidence)


@given(forecasts(), st.sampled_from([1, 2, 3, 10, 15, 16]))
def test_sums_against_loops(forecast: tuple[Tensor, Tensor], bins: int) -> None:
    probs, target = forecast
    top, every = np.zeros((3, 1, bins)), np.zeros((3, probs.shape[1], bins))
    for row, y in zip(probs.tolist(), target.tolist(), strict=True):
        confidence, predicted = max(row), row.index(max(row))
        top[:, 0, bin_of(confidence, bins)] += (1, confidence, predicted == y)
        for c, p in enumerate(row):
            every[:, c, bin_of(p, bins)] += (1, p, c == y)
    np.testing.assert_allclose(bin_sums(probs, target, bins), top, atol=1e-12)
    np.testing.assert_allclose(bin_sums(probs, target, bins, "classes"), every, atol=1e-12)


@pytest.mark.parametrize("bins", [1, 3, 10, 15, 49, 100])
def test_the_literal_edge_opens_its_bin(bins: int) -> None:
    for dtype in (torch.float64, torch.float32):
        edges = torch.arange(bins + 1, dtype=torch.float64) / bins
        probs = torch.stack([edges, 1 - edges], 1).to(dtype)
        counts = bin_sums(probs, torch.zeros(bins + 1, dtype=torch.long), bins, "classes")[0, 0].long().tolist()
        if dtype == torch.float64:
            assert counts == [1] * (bins - 1) + [2]  # 1 shares the last bin
        assert sum(counts) == bins + 1


def test_same_bins_as_numpy_where_edges_are_exact() -> None:
    """With 16 bins every edge is a binary fraction, for us and for numpy."""
    values = torch.arange(65, dtype=torch.float64) / 64
    ours = bin_sums(torch.stack([values, 1 - values], 1), torch.zeros(65, dtype=torch.long), 16, "classes")[0, 0]
    np.testing.assert_array_equal(ours, np.histogram(values, bins=16, range=(0, 1))[0])


def test_zero_and_one_belong_to_a_bin_and_so_do_their_roundings() -> None:
    probs = torch.tensor([[0.0, 1.0], [-1e-6, 1 + 1e-6]])
    counts = bin_sums(probs, torch.tensor([0, 1]), 15, "classes")[0]
    assert counts[0].tolist() == [2] + [0] * 14
    assert counts[1].tolist() == [0] * 14 + [2]
