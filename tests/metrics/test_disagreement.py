"""Votes against loops over samples and pairs."""

from __future__ import annotations

import itertools
from collections import Counter

import pytest
import torch
from hypothesis import given
from torch import Tensor

from tests.helpers.strategies import mc_probabilities
from tsnn_uq.metrics.functional import pairwise_disagreement, variation_ratio


@given(mc_probabilities())
def test_against_loops(probs: Tensor) -> None:
    ratios, disagreements = variation_ratio(probs, reduction="none"), pairwise_disagreement(probs, reduction="none")
    for n in range(probs.shape[1]):
        votes = [max(range(probs.shape[2]), key=lambda c, s=s, n=n: probs[s, n, c].item()) for s in range(len(probs))]
        modal = Counter(votes).most_common(1)[0][1]
        assert ratios[n].item() == pytest.approx(1 - modal / len(votes), abs=1e-15)
        pairs = [one != other for one, other in itertools.combinations(votes, 2)]
        assert disagreements[n].item() == pytest.approx(sum(pairs) / max(len(pairs), 1), abs=1e-15)


def test_extremes() -> None:
    apart, same = torch.eye(5)[:, None], torch.eye(5)[:1, None].expand(5, 1, 5)
    assert variation_ratio(apart).item() == pytest.approx(0.8)
    assert pairwise_disagreement(apart) == 1
    assert variation_ratio(same) == pairwise_disagreement(same) == 0
    assert variation_ratio(apart[:1]) == pairwise_disagreement(apart[:1]) == 0  # S = 1


def test_of_tied_classes_the_first_is_predicted() -> None:
    tied = torch.tensor([[[0.5, 0.5]], [[0.9, 0.1]]])
    assert variation_ratio(tied) == 0
    assert pairwise_disagreement(tied) == 0
