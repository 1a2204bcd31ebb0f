"""Temperature scaling against a fine grid, closed forms, netcal and simulated truth."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from tests.helpers.strategies import forecasts, mc_probabilities
from tsnn_uq.checks import InputError
from tsnn_uq.metrics.functional import negative_log_likelihood
from tsnn_uq.recalibration import BayesianTemperatureScaling, TemperatureScaling
from tsnn_uq.recalibration.base import log_probabilities
from tsnn_uq.recalibration.temperature import likelihood_losses


def simulated(
    inputs: int, generator: torch.Generator, temperature: float, samples: int | None = None
) -> tuple[Tensor, Tensor]:
    """Predictions that need this temperature: labels come from the (mean) prediction at it."""
    shape = (inputs, 5) if samples is None else (samples, inputs, 5)
    logits = 2 * torch.randn(inputs, 5, generator=generator, dtype=torch.float64)
    logits = logits + torch.randn(shape, generator=generator, dtype=torch.float64)
    truth = logits.softmax(-1) if samples is None else logits.softmax(-1).mean(0)
    return (temperature * logits).softmax(-1), torch.multinomial(truth, 1, generator=generator)[:, 0]


def loss_by_numpy(probs: Tensor, target: Tensor, temperature: float) -> float:
    powers = np.log(probs.numpy()) / temperature
    powers = np.exp(powers - powers.max(-1, keepdims=True))
    scaled = powers / powers.sum(-1, keepdims=True)
    mean = scaled if scaled.ndim == 2 else scaled.mean(0)
    with np.errstate(divide="ignore"):  # at low temperatures the sum of many samples is 0 too
        return -np.log(mean[np.arange(len(target)), target.numpy()]).mean()


@pytest.mark.parametrize("samples", [None, 1, 8])
@pytest.mark.parametrize("temperature", [0.3, 1.0, 4.0])
def test_least_loss_of_all_temperatures(samples: int | None, temperature: float, generator: torch.Generator) -> None:
    probs, target = simulated(400, generator, temperature, samples)
    scaling = TemperatureScaling().fit(probs, target)
    found = loss_by_numpy(probs, target, scaling.temperature)
    assert found <= min(loss_by_numpy(probs, target, t) for t in np.geomspace(0.01, 100, 400)) + 1e-12
    # At the minimum the loss is flat.
    for factor in (1 - 1e-4, 1 + 1e-4):
        assert 0 <= loss_by_numpy(probs, target, factor * scaling.temperature) - found < 1e-6
    assert not scaling.at_bound
    mean = scaling.transform(probs) if samples is None else scaling.transform(probs).mean(0)
    assert negative_log_likelihood(mean, target).item() == pytest.approx(found, rel=1e-9)


@pytest.mark.parametrize("samples", [None, 6])
def test_recovers_the_temperature_that_was_applied(samples: int | None, generator: torch.Generator) -> None:
    for temperature in (0.5, 3.0):
        probs, target = simulated(20_000, generator, temperature, samples)
        assert TemperatureScaling().fit(probs, target).temperature == pytest.approx(temperature, rel=0.05)


def test_one_for_all_samples_is_not_that_of_their_mean(generator: torch.Generator) -> None:
    """The mean is softer than its samples; each fit is best for what it was given."""
    probs, target = simulated(5000, generator, 3.0, samples=10)
    each, mean = TemperatureScaling().fit(probs, target), TemperatureScaling().fit(probs.mean(0), target)
    assert each.temperature > 1.1 * mean.temperature
    through_samples = negative_log_likelihood(each.transform(probs).mean(0), target)
    assert through_samples < negative_log_likelihood(mean.transform(probs).mean(0), target)
    one = TemperatureScaling().fit(probs[:1], target)
    assert one.temperature == pytest.approx(TemperatureScaling().fit(probs[0], target).temperature, rel=1e-9)


def test_closed_form_of_one_confidence() -> None:
    """All predictions (p, 1 - p), a share a right: log odds p / T = log odds a."""
    for p, right, n in [(0.9, 3, 4), (0.6, 3, 4), (0.99, 7, 9), (0.501, 90, 100)]:
        probs = torch.tensor([[p, 1 - p]] * n, dtype=torch.float64)
        scaling = TemperatureScaling(lowest=1e-4).fit(probs, torch.tensor([0] * right + [1] * (n - right)))
        assert scaling.temperature == pytest.approx(math.log(p / (1 - p)) / math.log(right / (n - right)), rel=1e-8)


def found(probs: Tensor, target: Tensor, **bounds: float) -> tuple[float, str]:
    scaling = TemperatureScaling(**bounds).fit(probs, target)
    assert scaling.determined == (scaling.outcome == "optimum")
    assert scaling.at_bound == scaling.outcome.endswith("bound")
    return scaling.temperature, scaling.outcome


SURE = torch.tensor([[0.9, 0.1], [0.2, 0.8]])


@pytest.mark.parametrize("probs", [SURE, SURE.half(), SURE.double(), torch.eye(2), SURE[None].expand(3, -1, -1)])
def test_a_network_that_is_never_wrong_or_never_right_ends_at_a_bound(probs: Tensor) -> None:
    labels = torch.tensor([0, 1])
    assert found(probs, labels, lowest=0.05) == (0.05, "lower bound")
    assert found(probs, 1 - labels, highest=50.0) == (50.0, "upper bound")
    assert found(probs, labels) == (0.01, "lower bound")
    assert torch.equal(TemperatureScaling().fit(probs, labels).transform(SURE).argmax(-1), labels)


FLAT = {
    "uniform": torch.full((2, 180, 10), 0.1),
    "one sample": torch.full((180, 10), 0.1),
    "of equal logits": torch.full((3, 180, 7), 1.7).softmax(-1),
    "one class": torch.ones(5, 180, 1),
    "samples that cancel": torch.stack([torch.tensor([[p, 1 - p]] * 180) for p in (0.9, 0.1)]),
}


@pytest.mark.parametrize("name", FLAT)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_where_no_temperature_is_likelier_than_another_it_is_one(name: str, dtype: torch.dtype) -> None:
    probs = FLAT[name].to(dtype)
    target = torch.arange(180) % probs.shape[-1]
    assert found(probs, target) == (1, "flat")
    off = torch.arange(probs.shape[-1]).remainder(3).sub(1).to(dtype)
    assert found(probs * (1 + torch.finfo(dtype).eps / 2 * off), target) == (1, "flat")
    assert found(probs, target, lowest=2.0) == (2, "flat")
    assert found(probs, target, highest=0.5) == (0.5, "flat")


def test_one_input_that_is_not_uniform_is_enough() -> None:
    probs = torch.full((100_000, 2), 0.5)
    probs[0] = torch.tensor([0.6, 0.4])
    assert found(probs, torch.zeros(100_000, dtype=torch.long))[1] == "lower bound"
    assert found(probs, torch.ones(100_000, dtype=torch.long))[1] == "upper bound"
    probs[1:4] = torch.tensor([0.6, 0.4])  # three right, one wrong: log odds 3 at the best temperature
    target = torch.zeros(100_000, dtype=torch.long)
    target[1] = 1
    temperature, outcome = found(probs, target)
    assert outcome == "optimum"
    assert temperature == pytest.approx(math.log(1.5) / math.log(3), rel=1e-6)


def test_votes_of_samples_that_a_lower_temperature_only_sharpens() -> None:
    """As T falls the mean tends to the share of samples that vote for the class, so the likelihood levels off."""
    votes = torch.tensor([[0.9, 0.1]] * 3 + [[0.1, 0.9]], dtype=torch.float64)[:, None]  # three of four for the first
    probs, target = votes.expand(-1, 4, -1), torch.tensor([0, 0, 0, 0])
    temperature, outcome = found(probs, target)
    assert (temperature, outcome) == (0.01, "lower bound")
    assert loss_by_numpy(probs, target, 0.01) == pytest.approx(-math.log(0.75))
    assert all(loss_by_numpy(probs, target, t) >= -math.log(0.75) - 1e-12 for t in np.geomspace(0.01, 100, 200))


@pytest.mark.parametrize("temperature", [0.0102, 0.0121, 0.3, 95.0, 99.9])
def test_an_optimum_beside_a_bound_is_one(temperature: float) -> None:
    """All predictions (p, 1 - p), a share a right: T = log odds p / log odds a."""
    p = 1 / (1 + 3**-temperature)
    probs = torch.tensor([[p, 1 - p]] * 4, dtype=torch.float64)
    if temperature > 1:
        probs = (temperature * torch.tensor([[0.0, -math.log(3)]] * 4, dtype=torch.float64)).softmax(-1)
    scaling = TemperatureScaling().fit(probs, torch.tensor([0, 0, 0, 1]))
    assert scaling.outcome == "optimum"
    assert scaling.temperature == pytest.approx(temperature, rel=1e-6)


@given(mc_probabilities(), st.randoms(use_true_random=False))
def test_no_temperature_is_likelier_whatever_the_outcome(probs: Tensor, random) -> None:
    """Against all temperatures of a fine grid; a bound or a flat likelihood is told from an optimum by it."""
    target = torch.tensor([random.randrange(probs.shape[-1]) for _ in range(probs.shape[1])])
    temperature, outcome = found(probs, target)
    logs = log_probabilities(probs)
    losses = [likelihood_losses(logs, target, t).mean().item() for t in np.geomspace(0.01, 100, 100)]
    at = likelihood_losses(logs, target, temperature).mean().item()
    if outcome == "flat":
        assert max(losses) - min(losses) < 1e-9
    else:
        assert at <= min(losses) * (1 + 1e-9) + 1e-9
    if outcome == "optimum":
        assert at < min(losses[0], losses[-1]) * (1 + 1e-12) + 1e-12
    if outcome == "lower bound":
        assert losses[0] <= min(losses) * (1 + 1e-9) + 1e-9


@given(forecasts())
def test_awkward_inputs(forecast: tuple[Tensor, Tensor]) -> None:
    """Zeros, ones, ties, one class: a finite temperature, probabilities, and the same decisions."""
    probs, target = forecast
    for scaling in (TemperatureScaling().fit(probs, target), BayesianTemperatureScaling().fit(probs, target)):
        assert 0 < scaling.temperature < math.inf
        scaled = scaling.transform(probs)
        torch.testing.assert_close(scaled.sum(-1), torch.ones(len(probs), dtype=torch.float64))
        best = scaled.gather(1, probs.argmax(-1, keepdim=True))[:, 0]
        torch.testing.assert_close(best, scaled.amax(-1), rtol=1e-6, atol=0)


def test_underflowed_probabilities(generator: torch.Generator) -> None:
    """In float32 a softmax of such logits is 0 or 1; the wrong ones still cost a finite loss, not infinity."""
    logits = 200 * torch.randn(300, 4, generator=generator)
    probs, target = logits.softmax(-1), torch.randint(4, (300,), generator=generator)
    assert (probs == 0).any()
    scaling = TemperatureScaling(highest=1e5).fit(probs, target)
    assert scaling.temperature > 100
    assert negative_log_likelihood(scaling.transform(probs), target) < math.log(4) + 0.01


def test_against_netcal(generator: torch.Generator) -> None:
    """netcal's weight is 1 / T; it optimizes by finite differences, so its loss is never lower."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from netcal.scaling import TemperatureScaling as Theirs

    probs, target = simulated(1000, generator, 2.5)
    scaling, theirs = TemperatureScaling().fit(probs, target), Theirs()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs.fit(probs.numpy(), target.numpy(), tensorboard=False)
    their_temperature = 1 / float(theirs.temperature[0])
    assert scaling.temperature == pytest.approx(their_temperature, rel=1e-3)
    assert loss_by_numpy(probs, target, scaling.temperature) <= loss_by_numpy(probs, target, their_temperature)
    np.testing.assert_allclose(scaling.transform(probs), theirs.transform(probs.numpy()), atol=1e-3)


@pytest.mark.parametrize(("inputs", "temperature", "prior_std"), [(5, 1.0, 10.0), (60, 3.0, 0.2), (3000, 0.5, 10.0)])
def test_posterior_against_quadrature(
    inputs: int, temperature: float, prior_std: float, generator: torch.Generator
) -> None:
    """Moments, interval and predictions against a fine equal grid of w."""
    probs, target = simulated(inputs, generator, temperature)
    scaling = BayesianTemperatureScaling(prior_std).fit(probs, target)
    grid = np.linspace(1e-3, 90 if inputs == 5 else 6, 20_000 if inputs < 1000 else 4000)
    logs, labels = np.log(probs.numpy()), target.numpy()
    density = np.empty(len(grid))
    for i, w in enumerate(grid):
        powers = w * logs
        powers = powers - powers.max(-1, keepdims=True)
        likelihood = powers[np.arange(inputs), labels] - np.log(np.exp(powers).sum(-1))
        density[i] = likelihood.sum() - (w - 1) ** 2 / (2 * prior_std**2)
    weights = np.exp(density - density.max())
    weights /= weights.sum()
    ours = scaling.inverse_temperatures.numpy(), scaling.weights.numpy()
    mean, their_mean = ours[0] @ ours[1], grid @ weights
    assert mean == pytest.approx(their_mean, rel=1e-5)
    std, their_std = (math.sqrt(w @ (x - m) ** 2) for x, w, m in [(*ours, mean), (grid, weights, their_mean)])
    assert std == pytest.approx(their_std, rel=1e-3)
    ends = np.interp([0.025, 0.975], weights.cumsum(), grid)
    assert scaling.interval(0.95) == pytest.approx((1 / ends[1], 1 / ends[0]), rel=0.005)


@pytest.mark.slow
def test_posterior_against_netcal_nuts(generator: torch.Generator) -> None:
    """The same model and prior; theirs is sampled."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from netcal.scaling import TemperatureScaling as Theirs

        probs, target = simulated(150, generator, 2.0)
        theirs = Theirs(method="mcmc", mcmc_steps=200, mcmc_warmup_steps=50)
        theirs.fit(probs.numpy(), target.numpy(), random_state=0, tensorboard=False)
    draws = theirs.mcmc_model["weights"].flatten().numpy()
    scaling = BayesianTemperatureScaling().fit(probs, target)
    w, weights = scaling.inverse_temperatures, scaling.weights
    mean = w.dot(weights).item()
    std = (w - mean).square().dot(weights).sqrt().item()
    assert draws.mean() == pytest.approx(mean, abs=5 * std / math.sqrt(50))  # successive draws are correlated
    assert draws.std() == pytest.approx(std, rel=0.35)


def test_posterior_narrows_around_the_best_temperature(generator: torch.Generator) -> None:
    probs, target = simulated(4000, generator, 2.0)
    widths = []
    for rows in (100, 1000, 4000):
        scaling = BayesianTemperatureScaling().fit(probs[:rows], target[:rows])
        low, high = scaling.interval()
        assert low < TemperatureScaling().fit(probs[:rows], target[:rows]).temperature < high
        widths.append(math.log(high / low))
    assert widths[0] / widths[1] == pytest.approx(math.sqrt(10), rel=0.3)
    assert widths[1] / widths[2] == pytest.approx(2, rel=0.3)
    point = TemperatureScaling().fit(probs, target).transform(probs)
    torch.testing.assert_close(scaling.transform(probs), point, rtol=0, atol=2e-3)
    draws = scaling.sample(2000, generator)
    assert ((low < draws) & (draws < high)).double().mean().item() == pytest.approx(0.95, abs=0.03)
    assert draws.mean().item() == pytest.approx(scaling.temperature, rel=0.01)


def test_a_posterior_that_follows_its_prior(generator: torch.Generator) -> None:
    """Where the likelihood is flat the posterior is the prior, N(1, tau^2) above 0."""
    uniform = BayesianTemperatureScaling(prior_std=0.2).fit(torch.full((2, 50, 4), 0.25), torch.arange(50) % 4)
    assert (uniform.outcome, uniform.determined) == ("flat", False)
    w, weights = uniform.inverse_temperatures, uniform.weights
    assert w.dot(weights).item() == pytest.approx(1, abs=1e-3)
    assert (w - 1).square().dot(weights).sqrt().item() == pytest.approx(0.2, rel=0.02)
    probs, target = simulated(100, generator, 2.0)
    assert BayesianTemperatureScaling().fit(probs, target).determined
    assert BayesianTemperatureScaling().fit(probs, probs.argmax(-1)).outcome == "lower bound"
    assert BayesianTemperatureScaling().fit(probs, probs.argmin(-1)).outcome == "upper bound"


def test_samples_share_one_posterior(generator: torch.Generator) -> None:
    probs, target = simulated(500, generator, 2.0, samples=6)
    scaling = BayesianTemperatureScaling().fit(probs, target)
    low, high = scaling.interval()
    assert low < TemperatureScaling().fit(probs, target).temperature < high
    assert scaling.transform(probs).shape == probs.shape


def test_bad_options() -> None:
    for make, message in [
        (lambda: TemperatureScaling(lowest=0), "lowest: expected a positive number"),
        (lambda: TemperatureScaling(lowest=2, highest=1), "lowest, highest: expected lowest < highest"),
        (lambda: BayesianTemperatureScaling(prior_std=-1), "prior_std: expected a positive number"),
        (lambda: BayesianTemperatureScaling(points=1), "points: expected 3 or more"),
        (lambda: BayesianTemperatureScaling().interval(), "expected fit to be called"),
    ]:
        with pytest.raises(InputError, match=message):
            make()
