from __future__ import annotations

import itertools

import pyro
import pytest
import torch
from torch import nn
from torch.distributions import kl_divergence
from torch.nn.functional import cross_entropy

from tsnn_uq.bayes import Variational, ternary_posterior
from tsnn_uq.bayes.elbo import negative_elbo
from tsnn_uq.bayes.output_noise import exact_noise
from tsnn_uq.checks import InputError
from tsnn_uq.uncertainty import set_generator


@pytest.fixture
def toy(generator):
    """Three ternary weights, one output, five inputs and what the output is to be; double."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        posterior = ternary_posterior(nn.Linear(3, 1).double(), prior=(0.2, 0.5, 0.3)).train()
    images = torch.randn(5, 3, generator=generator, dtype=torch.float64)
    return posterior, images, torch.randn(5, generator=generator, dtype=torch.float64)


def squared(outputs, target):
    """Minus the logarithm of a normal likelihood, up to a constant, mean over inputs."""
    return (outputs[:, 0] - target).square().mean() / 2


def enumerated(posterior, images, target, temperature):
    """Minus the lower bound, summed over all 27 weights and inputs."""
    (family,) = posterior.weights.values()
    bias = posterior.network.layer.bias
    logs = torch.stack(family.log_probabilities())[:, 0]
    prior = torch.tensor(family.options["prior"], dtype=torch.float64).log()
    total = 0.0
    for codes in itertools.product((-1, 0, 1), repeat=3):
        places = torch.tensor(codes) + 1
        log_chance = logs[places, torch.arange(3)].sum()
        outputs = images @ (family.scale * torch.tensor(codes, dtype=torch.float64)) + bias
        fit = (outputs - target).square().sum() / 2
        total = total + log_chance.exp() * (fit + temperature * (log_chance - prior[places].sum()))
    return total


@pytest.mark.parametrize("temperature", [1.0, 0.3])
def test_bound_and_gradient_are_those_of_all_weights(monkeypatch, toy, temperature):
    """A squared error depends on mean and variance alone, so noise of -1 and 1 standard deviations is exact."""
    posterior, images, target = toy
    method = Variational(temperature)
    method.criterion = squared
    method.start(posterior, images)
    generator = torch.Generator()

    def loss(sign):
        def signed(layer, inputs, variance, _):
            noise = exact_noise(layer, inputs, variance, generator.manual_seed(1))
            drawn = torch.empty_like(noise).normal_(generator=generator.manual_seed(1))
            return noise / drawn * sign

        monkeypatch.setattr("tsnn_uq.bayes.variational_layer.exact_noise", signed)
        set_generator(posterior, generator)
        method.after_step(posterior, 0.5)
        return method.loss(posterior(images)[None], target, torch.arange(5))

    ours = 5 * (loss(1.0) + loss(-1.0)) / 2
    expected = enumerated(posterior, images, target, temperature)
    torch.testing.assert_close(ours, expected)
    parameters = [parameter for parameter in posterior.parameters() if parameter.requires_grad]
    assert len(parameters) == 4  # two a weight, the scale, the bias
    gradients = [torch.autograd.grad(value, parameters, retain_graph=True) for value in (ours, expected)]
    torch.testing.assert_close(*gradients)


def test_gradient_is_unbiased_with_real_noise(toy, generator):
    """The mean over many repeated inputs against the sum over all weights."""
    posterior, images, target = toy
    copies = 20_000
    set_generator(posterior, generator)
    method = Variational()
    method.criterion = squared
    method.start(posterior, images)
    outputs = posterior(images.repeat(copies, 1))
    ours = 5 * method.loss(outputs[None], target.repeat(copies), torch.arange(5).repeat(copies))
    expected = enumerated(posterior, images, target, 1.0)
    parameters = [parameter for parameter in posterior.parameters() if parameter.requires_grad]
    gradients = [torch.autograd.grad(value, parameters, retain_graph=True) for value in (ours, expected)]
    torch.testing.assert_close(*gradients, atol=0.05, rtol=0.02)


def test_a_batch_stands_for_all_inputs(toy):
    """Cross-entropy through Pyro's plate is N times the mean; the divergence is not scaled with it."""
    posterior, _, _ = toy
    outputs, target = torch.randn(4, 3).double(), torch.tensor([0, 2, 1, 1])
    bound = negative_elbo(posterior.weights, outputs, target, torch.tensor([7, 1, 3, 9]), inputs=12, temperature=0.25)
    divergence = sum(kl_divergence(family.guide(), family.prior()).sum() for family in posterior.weights.values())
    torch.testing.assert_close(bound, 12 * cross_entropy(outputs, target) + 0.25 * divergence)


def test_nothing_is_left_in_pyro_and_nothing_drawn(toy):
    posterior, _, _ = toy
    before = torch.get_rng_state()
    negative_elbo(
        posterior.weights,
        torch.zeros(2, 3).double(),
        torch.tensor([0, 1]),
        torch.tensor([0, 1]),
        inputs=2,
        temperature=1.0,
    )
    assert torch.equal(before, torch.get_rng_state())
    assert not list(pyro.get_param_store().keys())


def test_divergence_warms_up(toy):
    posterior, images, target = toy
    method = Variational(temperature=2.0, warm_up=0.5)
    method.criterion = squared
    method.start(posterior, images)
    given = torch.zeros(1, 5, 1).double(), target, torch.arange(5)
    fit = squared(given[0][0], target)
    losses = []
    for progress in (0.0, 0.25, 0.5, 1.0):
        method.after_step(posterior, progress)
        losses.append(method.loss(*given) - fit)
    torch.testing.assert_close(losses[0], torch.zeros(()).double(), atol=1e-8, rtol=0)
    torch.testing.assert_close(2 * losses[1], losses[2])
    torch.testing.assert_close(losses[2], losses[3])
    divergence = sum(kl_divergence(family.guide(), family.prior()).sum() for family in posterior.weights.values())
    torch.testing.assert_close(losses[3], 2 * divergence / 5)


def test_only_posteriors_have_a_bound():
    with pytest.raises(InputError, match="model: expected a VariationalPosterior"):
        Variational().start(nn.Linear(2, 2), torch.zeros(1, 2))
    with pytest.raises(InputError, match="temperature: expected a positive number"):
        Variational(0)
