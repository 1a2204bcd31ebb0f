"""The paired bootstrap against scipy's, against its slow twin, and its coverage in simulations."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats
import torch
from torch import Tensor

from tests.helpers.metric_tester import same
from tsnn_uq.checks import InputError
from tsnn_uq.metrics import PairedBootstrap
from tsnn_uq.metrics import functional as F


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def models(inputs: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Two models that err on much the same inputs, the second a little more noisy."""
    target = torch.randint(4, (inputs,), generator=generator)
    truth = 2 * torch.nn.functional.one_hot(target, 4).double()
    common = torch.randn(inputs, 4, generator=generator, dtype=torch.float64)
    first, second = (
        (truth + common + noise * torch.randn(inputs, 4, generator=generator, dtype=torch.float64)).softmax(-1)
        for noise in (0.2, 1.0)
    )
    return first, second, target


@pytest.mark.parametrize("metric", [F.brier_score, F.accuracy, F.negative_log_likelihood])
def test_against_scipy(metric, generator: torch.Generator) -> None:
    first, second, target = models(200, generator)
    interval = F.paired_bootstrap(metric, first, second, target, generator=generator, resamples=20_000, level=0.9)
    losses = [metric(probs, target, reduction="none").numpy() for probs in (first, second)]
    theirs = scipy.stats.bootstrap(
        losses,
        lambda x, y, axis: (x - y).mean(axis),
        paired=True,
        method="percentile",
        confidence_level=0.9,
        n_resamples=20_000,
        rng=np.random.default_rng(0),
    )
    noise = 0.05 * theirs.standard_error  # of the ends, by 20,000 resamples of either
    assert interval.difference.item() == pytest.approx(losses[0].mean() - losses[1].mean(), abs=1e-12)
    assert interval.low.item() == pytest.approx(theirs.confidence_interval.low, abs=noise)
    assert interval.high.item() == pytest.approx(theirs.confidence_interval.high, abs=noise)
    assert interval.standard_error.item() == pytest.approx(theirs.standard_error, rel=0.03)


def test_resampled_values_and_resampled_inputs_agree(generator: torch.Generator) -> None:
    """The twin: a function without `reduction` is measured on each resample, from the same draws."""
    first, second, target = models(60, generator)
    fast = F.paired_bootstrap(F.brier_score, first, second, target, generator=seeded(), resamples=200)
    slow = F.paired_bootstrap(
        lambda p, y: F.brier_score(p, y), first, second, target, generator=seeded(), resamples=200
    )
    same(fast, slow)
    summed = F.paired_bootstrap(
        F.brier_score, first, second, target, generator=seeded(), resamples=200, reduction="sum"
    )
    same([part / 60 for part in summed], fast)


def test_monte_carlo_samples_and_classes(generator: torch.Generator) -> None:
    first, second = (torch.randn(5, 40, 3, generator=generator, dtype=torch.float64).softmax(-1) for _ in range(2))
    options = {"input_dim": 1, "resamples": 100}
    fast = F.paired_bootstrap(F.predictive_variance, first, second, generator=seeded(), of="classes", **options)
    slow = F.paired_bootstrap(
        lambda p: F.predictive_variance(p, of="classes"), first, second, generator=seeded(), **options
    )
    assert fast.difference.shape == fast.low.shape == (3,)
    same(fast, slow)
    same(fast.difference, F.predictive_variance(first, of="classes") - F.predictive_variance(second, of="classes"))


def test_metrics_of_several_inputs_a_model(generator: torch.Generator) -> None:
    first, second, target = models(80, generator)
    pairs = [(F.maximum_softmax_score(p), p.argmax(-1) == target) for p in (first, second)]
    interval = F.paired_bootstrap(F.aurc, *pairs, generator=seeded(), resamples=50)
    rows = torch.randint(80, (50, 80), generator=seeded())
    draws = [(F.aurc(*(x[row] for x in pairs[0])) - F.aurc(*(x[row] for x in pairs[1]))).item() for row in rows]
    assert interval.difference == F.aurc(*pairs[0]) - F.aurc(*pairs[1])
    assert [interval.low.item(), interval.high.item()] == pytest.approx(np.quantile(draws, [0.025, 0.975]))
    assert interval.standard_error.item() == pytest.approx(np.std(draws, ddof=1))


def test_coverage_of_the_interval(generator: torch.Generator) -> None:
    """400 test sets of 150 inputs: the 90 % interval holds the true difference of 0.1 in 90 % of them."""
    hits = 0
    for _ in range(400):
        difficulty = torch.rand(150, generator=generator, dtype=torch.float64)
        correct = [(difficulty + 0.3 * torch.rand(150, generator=generator) < limit).double() for limit in (0.9, 0.8)]
        interval = F.paired_bootstrap(_share, *correct, generator=generator, resamples=500, level=0.9)
        hits += bool(interval.low <= 0.1 <= interval.high)
    assert hits / 400 == pytest.approx(0.9, abs=4 * math.sqrt(0.9 * 0.1 / 400))


def _share(correct: Tensor, reduction: str = "mean") -> Tensor:
    """A metric that is a mean over inputs."""
    return correct if reduction == "none" else correct.mean()


def test_pairing_narrows_the_interval(generator: torch.Generator) -> None:
    first, second, target = models(300, generator)
    paired = F.paired_bootstrap(F.brier_score, first, second, target, generator=seeded())
    alone = [F.brier_score(probs, target, reduction="none").std() / math.sqrt(300) for probs in (first, second)]
    assert paired.standard_error < 0.8 * math.hypot(*alone)


def test_equal_models_do_not_differ(generator: torch.Generator) -> None:
    first, _, target = models(30, generator)
    for metric in (F.brier_score, F.expected_calibration_error):
        interval = F.paired_bootstrap(metric, first, first, target, generator=generator, resamples=20)
        assert [part.item() for part in interval] == [0, 0, 0, 0]


def test_running_bootstrap(generator: torch.Generator) -> None:
    first, second, target = models(50, generator)
    running = PairedBootstrap(F.expected_calibration_error, seed=3, resamples=40, bins=5)
    for rows in (slice(0, 20), slice(20, 20), slice(20, 21), slice(21, 50)):
        running.update(first[rows], second[rows], target[rows])
    wanted = F.paired_bootstrap(
        F.expected_calibration_error, first, second, target, generator=seeded(3), resamples=40, bins=5
    )
    same(running.compute(), wanted)
    samples = [torch.stack([probs] * 3) for probs in (first, second)]
    running = PairedBootstrap(F.predictive_entropy, input_dim=1, resamples=40)
    for rows in (slice(0, 20), slice(20, 50)):
        running.update(*(probs[:, rows] for probs in samples))
    same(
        running.compute(),
        F.paired_bootstrap(F.predictive_entropy, *samples, generator=seeded(), input_dim=1, resamples=40),
    )
    with pytest.raises(ValueError, match="Unexpected keyword arguments: `normalise`"):
        PairedBootstrap(F.brier_score, normalise=True)


def test_refuses_what_does_not_fit(generator: torch.Generator) -> None:
    first, second, target = models(9, generator)
    for arguments, options, message in [
        ((first, second[:8], target), {}, "first, second: expected the same inputs"),
        ((first[:0], second[:0], target[:0]), {}, "one or more"),
        ((first, second, target), {"input_dim": 2}, "first: expected tensors with an axis 2 of inputs"),
        ((first, second, target), {"resamples": 2.5}, "resamples: expected a positive whole number"),
        ((first, second, target), {"resamples": 1}, "resamples: expected at least 2"),
        ((first, second, target), {"level": 1.0}, "level: expected 0 <= value < 1"),
        ((3 * first, second, target), {}, "apply softmax first"),
        ((first, second, target + 9), {}, "target: expected labels"),
    ]:
        with pytest.raises(InputError, match=message):
            F.paired_bootstrap(F.brier_score, *arguments, generator=generator, **options)
    sure = torch.eye(4, dtype=torch.float64)[(target + 1) % 4]
    with pytest.raises(InputError, match="metric: expected finite values"):
        F.paired_bootstrap(F.negative_log_likelihood, first, sure, target, generator=generator)
