"""Histogram binning and isotonic regression against loops, scikit-learn and netcal."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from tests.helpers.strategies import forecasts
from tsnn_uq.checks import InputError
from tsnn_uq.metrics.functional import classwise_calibration_error
from tsnn_uq.recalibration import HistogramBinning, IsotonicRegression


def simulated(inputs: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    logits = torch.randn(inputs, 4, generator=generator, dtype=torch.float64)
    return (3 * logits).softmax(-1), torch.multinomial(logits.softmax(-1), 1, generator=generator)[:, 0]


@given(forecasts(), forecasts(), st.sampled_from([1, 2, 10, 16]))
def test_histogram_against_loops(held_out: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor], bins: int) -> None:
    (probs, target), (others, _) = held_out, test
    binning = HistogramBinning(bins).fit(probs, target)
    if others.shape[1] != probs.shape[1]:
        others = probs
    for row, found in zip(others.tolist(), binning.transform(others).tolist(), strict=True):
        mapped = []
        for c, p in enumerate(row):
            b = max(b for b in range(bins) if b / bins <= p)
            hits = [y == c for q, y in zip(probs[:, c].tolist(), target.tolist(), strict=True) if in_bin(q, b, bins)]
            mapped.append(p if c not in target else np.mean(hits) if hits else (b + 0.5) / bins)
        wanted = row if sum(mapped) == 0 else [value / sum(mapped) for value in mapped]
        assert found == pytest.approx(wanted, abs=1e-12)


def in_bin(p: float, b: int, bins: int) -> bool:
    return max(other for other in range(bins) if other / bins <= p) == b


@given(forecasts())
def test_isotonic_maps_rise_and_keep_the_mean(forecast: tuple[Tensor, Tensor]) -> None:
    """Pool adjacent violators: the best rising step function has the mean of the truths in each block."""
    probs, target = forecast
    isotonic = IsotonicRegression().fit(probs, target)
    mapped = isotonic._map_classes(probs)
    for c in range(probs.shape[1]):
        order = probs[:, c].argsort()
        assert (mapped[order, c].diff() >= -1e-12).all()
        assert mapped[:, c].mean().item() == pytest.approx((target == c).double().mean().item(), abs=1e-9)
    total = isotonic.transform(probs).sum(-1)
    torch.testing.assert_close(total, torch.ones_like(total))


def test_against_netcal_off_the_edges(generator: torch.Generator) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import netcal.binning as theirs

    held_out, (probs, _) = simulated(500, generator), simulated(100, generator)
    for ours, other in [
        (HistogramBinning(10), theirs.HistogramBinning(10)),
        (IsotonicRegression(), theirs.IsotonicRegression()),
    ]:
        other.fit(held_out[0].numpy(), held_out[1].numpy())
        mapped = ours.fit(*held_out).transform(probs)
        np.testing.assert_allclose(mapped, other.transform(probs.numpy()), atol=1e-12)


def test_netcal_looks_an_edge_up_in_the_bin_below() -> None:
    """Votes of ten samples lie on the edges of ten bins: all of these inputs have 0.5, and half of them are right."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from netcal.binning import HistogramBinning as Theirs

    probs = torch.tensor([[0.5, 0.3, 0.2]] * 8 + [[0.2, 0.3, 0.5]], dtype=torch.float64)
    target = torch.tensor([0, 0, 0, 0, 1, 1, 1, 2, 2])
    ours = HistogramBinning(10).fit(probs, target)
    assert ours.values[0, 5] == 0.5
    theirs = Theirs(10)
    theirs.fit(probs.numpy(), target.numpy())
    assert theirs._multiclass_instances[0][1].transform(np.array([0.5])) == pytest.approx(
        0.45
    )  # the empty bin's middle


def test_calibration_gets_better(generator: torch.Generator) -> None:
    held_out, (probs, target) = simulated(5000, generator), simulated(5000, generator)
    before = classwise_calibration_error(probs, target)
    for method in (HistogramBinning(), IsotonicRegression()):
        assert classwise_calibration_error(method.fit(*held_out).transform(probs), target) < 0.4 * before


def test_rows_that_vanish_and_classes_never_seen() -> None:
    """netcal divides by zero, and gives a class without labels no probability at all."""
    probs = torch.tensor([[0.9, 0.05, 0.05], [0.1, 0.85, 0.05]], dtype=torch.float64)
    for method in (HistogramBinning(2), IsotonicRegression()):
        method.fit(probs, torch.tensor([1, 1]))
        mapped = method.transform(torch.tensor([[0.0, 0.0, 1.0], [0.6, 0.4, 0.0]], dtype=torch.float64))
        assert mapped.isfinite().all()
        torch.testing.assert_close(mapped.sum(-1), torch.ones(2, dtype=torch.float64))
        assert mapped[0, 2] > 0  # never seen, so left as it was
    zeros = HistogramBinning(2).fit(probs, torch.tensor([1, 0]))
    assert zeros.transform(probs).isfinite().all()


def test_what_no_held_out_input_tells() -> None:
    probs, target = torch.tensor([[0.9, 0.1, 0.0], [0.3, 0.7, 0.0]]), torch.tensor([0, 1])
    binning = HistogramBinning(2).fit(probs, target)
    assert binning.seen.tolist() == [True, True, False]
    assert binning.empty.tolist() == [[False, False], [False, False], [False, True]]
    assert binning.values[2].tolist() == [0, 0.75]  # the middle of the empty one
    assert IsotonicRegression().fit(probs, target).seen.tolist() == [True, True, False]


def test_samples_are_mapped_but_not_fitted(generator: torch.Generator) -> None:
    probs, target = simulated(50, generator)
    samples = torch.stack([probs, probs.flip(0)])
    for method in (HistogramBinning(), IsotonicRegression()):
        with pytest.raises(InputError, match=r"expected a tensor of shape \[N, C\] to fit to.*mean over samples"):
            method.fit(samples, target)
        mapped = method.fit(samples.mean(0), target).transform(samples)
        torch.testing.assert_close(mapped[1], method.transform(samples[1]))
