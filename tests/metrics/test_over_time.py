"""Metrics after each time step against a loop over steps; time steps as samples."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torchmetrics import MetricCollection
from torchmetrics.classification import MulticlassAccuracy

import tsnn_uq.metrics as M
from tests.helpers.metric_tester import same
from tsnn_uq.checks import InputError
from tsnn_uq.metrics import functional as F
from tsnn_uq.readout import logits_over_time

SAMPLES, STEPS, INPUTS, CLASSES = 3, 5, 8, 4
MONTE_CARLO = [
    F.predictive_entropy,
    F.expected_entropy,
    F.mutual_information,
    F.predictive_variance,
    F.predictive_std,
    F.variation_ratio,
    F.pairwise_disagreement,
    F.expected_pairwise_kl,
]
FORECASTS = [
    F.accuracy,
    F.negative_log_likelihood,
    F.brier_score,
    F.brier_decomposition,
    F.expected_calibration_error,
    F.adaptive_calibration_error,
    F.reliability_curve,
]


@pytest.fixture
def probs(generator: torch.Generator) -> Tensor:
    outputs = torch.randn(STEPS, SAMPLES * INPUTS, CLASSES, generator=generator, dtype=torch.float64)
    return logits_over_time(3 * outputs).softmax(-1).unflatten(1, (SAMPLES, INPUTS)).movedim(1, 0)


@pytest.fixture
def target(generator: torch.Generator) -> Tensor:
    return torch.randint(CLASSES, (INPUTS,), generator=generator)


def by_name(function: object) -> str:
    return getattr(function, "__name__", "")


@pytest.mark.parametrize("metric", MONTE_CARLO, ids=by_name)
def test_monte_carlo_metrics_see_the_samples(metric, probs: Tensor) -> None:
    for options in ({}, {"reduction": "none"}):
        same(F.over_time(metric, probs, **options), torch.stack([metric(probs[:, t], **options) for t in range(STEPS)]))
        one = torch.stack([metric(probs[:1, t], **options) for t in range(STEPS)])
        same(F.over_time(metric, probs[0], **options), one)


@pytest.mark.parametrize("metric", FORECASTS, ids=by_name)
def test_other_metrics_see_the_mean(metric, probs: Tensor, target: Tensor) -> None:
    value = F.over_time(metric, probs, target)
    for t in range(STEPS):
        now = value[t] if isinstance(value, Tensor) else [part[t] for part in value]
        same(now, metric(probs[:, t].mean(0), target))
    assert type(value) is type(metric(probs[:, 0].mean(0), target))
    same(F.over_time(metric, probs[0], target), F.over_time(metric, probs[:1], target))


def test_options_reach_the_metric_and_any_callable_will_do(probs: Tensor, target: Tensor) -> None:
    few = F.over_time(F.expected_calibration_error, probs, target, bins=2)
    same(few[-1], F.expected_calibration_error(probs[:, -1].mean(0), target, bins=2))
    same(F.over_time(lambda probs: probs.amax(-1).mean(), probs)[0], probs[:, 0].mean(0).amax(-1).mean())


def test_identities_hold_after_each_step(probs: Tensor) -> None:
    for as_samples in (False, True):
        total, aleatoric, epistemic = (F.over_time(metric, probs, as_samples=as_samples) for metric in MONTE_CARLO[:3])
        torch.testing.assert_close(total, aleatoric + epistemic, rtol=0, atol=1e-14)
        assert (epistemic >= 0).all()


def test_time_steps_as_samples(probs: Tensor, target: Tensor) -> None:
    """After step t the s-th of S t samples, in whatever order, is one step of one sample."""
    pooled = F.time_as_samples(probs)
    assert pooled.shape == (SAMPLES * STEPS, INPUTS, CLASSES)
    assert torch.equal(F.time_as_samples(probs[0]), probs[0])
    same(F.average_over_time(probs), probs.mean((0, 1)))
    same(F.average_over_time(probs[1]), probs[1].mean(0))
    value = F.over_time(F.mutual_information, probs, as_samples=True)
    for t in range(STEPS):
        past = torch.cat([probs[:, earlier] for earlier in range(t + 1)])
        same(value[t], F.mutual_information(past))
    same(value[-1], F.mutual_information(pooled))
    scored = F.over_time(F.brier_score, probs, target, as_samples=True)
    same(scored[-1], F.brier_score(F.average_over_time(probs), target))


def test_steps_that_agree_carry_no_information(generator: torch.Generator) -> None:
    one = torch.randn(INPUTS, CLASSES, generator=generator).softmax(-1).expand(STEPS, -1, -1)
    assert (F.over_time(F.mutual_information, one, as_samples=True) == 0).all()
    assert torch.equal(F.average_over_time(one), one[0])


@pytest.mark.parametrize("as_samples", [False, True])
def test_class_gathers_batches(as_samples: bool, probs: Tensor, target: Tensor) -> None:
    options = {"as_samples": as_samples}
    for metric, function, labels in [
        (M.PredictiveEntropy(), F.predictive_entropy, ()),
        (M.ExpectedCalibrationError(4, sample_dim=0), lambda p, y: F.expected_calibration_error(p, y, 4), (target,)),
        (M.ReliabilityCurve(), F.reliability_curve, (target,)),
        (MulticlassAccuracy(CLASSES, average="micro"), F.accuracy, (target,)),
    ]:
        running = M.OverTime(metric, STEPS, **options)
        for rows in (slice(0, 5), slice(5, 6), slice(6, INPUTS)):
            batch = running(probs[:, :, rows], *(label[rows] for label in labels))
            same(batch, F.over_time(function, probs[:, :, rows], *(y[rows] for y in labels), **options), atol=1e-6)
        same(running.compute(), F.over_time(function, probs, *labels, **options), atol=1e-6)  # theirs is in float32
        running.reset()
        running.update(probs, *labels)
        same(running.clone().compute(), F.over_time(function, probs, *labels, **options), atol=1e-6)


def test_class_in_a_collection(probs: Tensor, target: Tensor) -> None:
    collection = MetricCollection(
        {"accuracy": M.OverTime(M.Accuracy(), STEPS), "entropy": M.OverTime(M.PredictiveEntropy(), STEPS)}
    )
    for rows in (slice(0, 5), slice(5, INPUTS)):
        collection.update(probs=probs[:, :, rows], target=target[rows])  # entropy leaves the labels aside
    values = collection.compute()
    same(values["accuracy"], F.over_time(F.accuracy, probs, target))
    same(values["entropy"], F.over_time(F.predictive_entropy, probs))


def test_plot_draws_the_value_against_time(probs: Tensor) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    metric = M.OverTime(M.PredictiveEntropy(), STEPS)
    metric.update(probs)
    figure, axes = metric.plot()
    assert axes.lines[0].get_xdata().tolist() == [1, 2, 3, 4, 5]
    assert axes.lines[0].get_ydata().tolist() == metric.compute().tolist()
    assert metric.plot(metric.compute(), axes)[0] is figure
    pyplot.close(figure)


def test_refuses_what_has_no_time(probs: Tensor, target: Tensor) -> None:
    shapes = r"probs: expected a tensor of shape \[T, N, C\] or \[S, T, N, C\]"
    for function in (F.time_as_samples, F.average_over_time, lambda p: F.over_time(F.accuracy, p, target)):
        with pytest.raises(InputError, match=shapes):
            function(probs[0, 0])
        with pytest.raises(InputError, match="at least one sample and one time step"):
            function(probs[:, :0])
    with pytest.raises(InputError, match=r"probs: expected probabilities in \[0, 1\]"):
        F.over_time(F.accuracy, probs * math.nan, target)
    with pytest.raises(InputError, match="probs: expected 4 time steps"):
        M.OverTime(M.Accuracy(), 4).update(probs, target)
    with pytest.raises(InputError, match="steps: expected a positive whole number"):
        M.OverTime(M.Accuracy(), 0)
