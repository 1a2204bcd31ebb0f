from __future__ import annotations

import pytest
import torch
from scipy.stats import spearmanr

from tsnn_uq.checks import InputError
from tsnn_uq.metrics.functional import doubt_correlation, human_cross_entropy, negative_log_likelihood

COUNTS = torch.tensor([[50, 0, 0], [25, 25, 0], [48, 1, 1], [0, 30, 20]])
PROBS = torch.tensor([[0.8, 0.1, 0.1], [0.5, 0.25, 0.25], [0.6, 0.2, 0.2], [0.1, 0.1, 0.8]], dtype=torch.float64)


def test_cross_entropy_is_least_at_peoples_own_shares_and_is_their_entropy_there() -> None:
    shares = COUNTS.double() / COUNTS.sum(-1, keepdim=True)
    entropy = torch.special.entr(shares).sum(-1)
    torch.testing.assert_close(human_cross_entropy(shares, COUNTS, reduction="none"), entropy)
    assert (human_cross_entropy(PROBS, COUNTS, reduction="none") > entropy).all()


def test_where_all_agree_it_is_the_log_likelihood() -> None:
    target = torch.tensor([2, 0, 1, 1])
    counts = 47 * torch.nn.functional.one_hot(target, 3)
    torch.testing.assert_close(human_cross_entropy(PROBS, counts), negative_log_likelihood(PROBS, target))
    assert human_cross_entropy(torch.tensor([[1.0, 0.0]]), torch.tensor([[49, 1]])) == torch.inf
    assert human_cross_entropy(torch.tensor([[1.0, 0.0]]), torch.tensor([[50, 0]])) == 0


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.float32, torch.float64])
def test_counts_of_any_number_and_shares_alike(dtype: torch.dtype) -> None:
    uncertainty = torch.tensor([0.1, 0.9, 0.3, 0.2])
    torch.testing.assert_close(human_cross_entropy(PROBS, COUNTS.to(dtype)), human_cross_entropy(PROBS, COUNTS))
    assert doubt_correlation(uncertainty, COUNTS.to(dtype)) == doubt_correlation(uncertainty, COUNTS)


def test_correlation_is_scipys_with_ties_and_the_same_for_any_growing_function(
    generator: torch.Generator,
) -> None:
    counts = torch.randint(0, 3, (200, 4), generator=generator) + torch.tensor([1, 0, 0, 0])
    uncertainty = torch.randint(0, 9, (200,), generator=generator).double() / 8
    people = torch.special.entr(counts / counts.sum(-1, keepdim=True).double()).sum(-1)
    found = doubt_correlation(uncertainty, counts)
    wanted = spearmanr(uncertainty, people.mul(1e9).round()).statistic  # equal but for rounding is equal
    assert found.item() == pytest.approx(wanted, abs=1e-12)
    assert doubt_correlation(uncertainty.exp(), counts) == found
    assert doubt_correlation(-uncertainty, counts) == -found
    assert doubt_correlation(uncertainty, counts.flip(1)) == found  # the classes' names do not matter
    assert doubt_correlation(people, counts).item() == pytest.approx(1, abs=0.01)


def test_what_does_not_vary_has_no_correlation() -> None:
    assert doubt_correlation(torch.ones(4), COUNTS).isnan()
    assert doubt_correlation(torch.rand(4), COUNTS[:1].expand(4, 3)).isnan()


def test_what_does_not_fit_is_refused() -> None:
    uncertainty = torch.rand(4)
    for counts, match in [
        (COUNTS[0], r"counts: expected a tensor of shape \[N, C\]"),
        (COUNTS[:3], "counts: expected the answers to 4 inputs"),
        (COUNTS - 1, "counts: expected counts of each class"),
        (COUNTS / 0, "counts: expected counts of each class"),
        (COUNTS * 0, "inputs without one"),
    ]:
        for function, first in ((human_cross_entropy, PROBS), (doubt_correlation, uncertainty)):
            with pytest.raises(InputError, match=match):
                function(first, counts)
    with pytest.raises(InputError, match="counts: expected 3 classes"):
        human_cross_entropy(PROBS, COUNTS[:, :2])
    with pytest.raises(InputError, match="apply softmax first"):
        human_cross_entropy(10 * PROBS, COUNTS)
    with pytest.raises(InputError, match="NaN"):
        doubt_correlation(uncertainty / 0 * 0, COUNTS)
    with pytest.raises(InputError, match="at least one input"):
        doubt_correlation(uncertainty[:0], COUNTS[:0])
