from __future__ import annotations

import math

import pyro.distributions as dist
import pytest
import torch
from torch import nn
from torch.distributions import kl_divergence
from torch.nn.utils import vector_to_parameters

from tsnn_uq.bayes.pyro_distributions import DroppedPoints, TernaryCodes
from tsnn_uq.bayes.weight_distributions import DroppedWeights, GaussianWeights, TernaryWeights
from tsnn_uq.checks import InputError

FAMILIES = [TernaryWeights, GaussianWeights, DroppedWeights]


@pytest.fixture
def weight(generator):
    return torch.randn(3, 4, generator=generator, dtype=torch.float64)


def perturbed(family, generator):
    """The same family, its parameters somewhere else."""
    vector = torch.randn(sum(p.numel() for p in family.parameters()), generator=generator, dtype=torch.float64)
    vector_to_parameters(vector, family.parameters())
    return family


def categorical(family):
    return dist.Categorical(logits=torch.stack(family.log_probabilities(), -1))


@pytest.mark.parametrize("prior", [(0.25, 0.5, 0.25), (0.1, 0.2, 0.7), (1 / 3, 1 / 3, 1 / 3)])
def test_ternary_divergence_is_that_of_pyro_categorical(weight, generator, prior):
    family = perturbed(TernaryWeights(weight, prior), generator)
    ours = kl_divergence(family.guide(), family.prior())
    theirs = kl_divergence(categorical(family), dist.Categorical(probs=torch.tensor(prior).double()))
    torch.testing.assert_close(ours, theirs)
    gradients = [torch.autograd.grad(kl.sum(), [*family.parameters()][:2]) for kl in (ours, theirs)]
    torch.testing.assert_close(*gradients)


def test_codes_are_a_categorical_of_pyro(weight, generator):
    family = perturbed(TernaryWeights(weight), generator)
    codes, reference = family.guide(), categorical(family)
    for value in (-1, 0, 1):
        expected = reference.log_prob(torch.tensor(value + 1))
        torch.testing.assert_close(codes.log_prob(torch.full((3, 4), float(value))), expected)
    means, variances = family.moments()
    torch.testing.assert_close(codes.mean * family.scale, means)
    torch.testing.assert_close(codes.variance * family.scale**2, variances)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        drawn = codes.sample((20_000,))
    assert set(drawn.unique().tolist()) == {-1, 0, 1}
    torch.testing.assert_close(drawn.mean(0), codes.mean.detach(), atol=0.03, rtol=0)


def test_gaussian_divergence_is_the_closed_form(weight):
    family = GaussianWeights(weight, prior_std=0.5, initial_std=0.3)
    std = 0.3 * weight.std(correction=0)
    expected = math.log(0.5) - std.log() + (std**2 + weight**2) / (2 * 0.25) - 0.5
    torch.testing.assert_close(kl_divergence(family.guide(), family.prior()), expected)


def test_dropconnect_divergence_is_that_of_narrow_gaussians(weight):
    """Gal and Ghahramani replace the two points by normals of width s; what is left as s shrinks moves no parameter."""
    p, width = 0.3, 1e-3
    kept = weight / (1 - p)
    grid = torch.linspace(-6 * width, 6 * width, 2001, dtype=torch.float64)
    narrow, prior = dist.Normal(torch.tensor(0.0).double(), width), dist.Normal(torch.tensor(0.0).double(), 0.5)

    def divergence(mean):
        """-E log prior of the mixture, up to its entropy, which does not depend on where the points are."""
        density = narrow.log_prob(grid).exp()
        points = [(p, grid), (1 - p, mean + grid)]
        return sum(-share * torch.trapezoid(density * prior.log_prob(at), grid) for share, at in points)

    expected = torch.stack([divergence(mean) - divergence(torch.tensor(0.0)) for mean in kept.flatten()])
    ours = kl_divergence(DroppedPoints(weight, p), dist.Normal(torch.zeros_like(weight), 0.5))
    torch.testing.assert_close(ours.flatten(), expected, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("family", FAMILIES)
def test_draws_have_the_moments(weight, generator, family):
    weights = perturbed(family(weight), generator) if family is not DroppedWeights else family(weight)
    drawn = torch.stack([weights.draw(generator) for _ in range(4000)])
    mean, variance = (moment.detach() for moment in weights.moments())
    std = variance.sqrt()
    assert ((drawn.mean(0) - mean).abs() <= 5 * std / 4000**0.5).all()
    torch.testing.assert_close(drawn.var(0), variance, rtol=0.25, atol=1e-9)


@pytest.mark.parametrize("relaxation", [0.3, 1.0])
def test_straight_through_draws_are_those_of_torch(weight, generator, monkeypatch, relaxation):
    """Values and gradients, also of the scale; many draws have the moments."""
    family = perturbed(TernaryWeights(weight, relaxation=relaxation), generator)
    drawn = family.rsample(torch.Generator().manual_seed(5))
    logs = torch.stack(family.log_probabilities())
    noise = -torch.empty_like(logs).uniform_(generator=torch.Generator().manual_seed(5)).log()  # exponential
    with monkeypatch.context() as patch:
        patch.setattr(torch.Tensor, "exponential_", lambda given: given.copy_(noise))
        shares = nn.functional.gumbel_softmax(logs, relaxation, hard=True, dim=0)
    expected = family.scale * (shares[2] - shares[0])
    torch.testing.assert_close(drawn, expected)
    assert set((drawn / family.scale).unique().tolist()) <= {-1.0, 0.0, 1.0}
    slope = torch.rand(3, 4, generator=generator, dtype=torch.float64)
    gradients = [torch.autograd.grad((slope * value).sum(), [*family.parameters()]) for value in (drawn, expected)]
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs)
    draws = torch.stack([family.rsample(generator) for _ in range(4000)]).detach()
    means, variances = (moment.detach() for moment in family.moments())
    torch.testing.assert_close(draws.mean(0), means, atol=0.1 * family.scale.item(), rtol=0)
    torch.testing.assert_close(draws.var(0), variances, atol=0.1 * family.scale.item() ** 2, rtol=0)


@pytest.mark.parametrize("family", [GaussianWeights, DroppedWeights])
def test_draws_have_a_gradient_by_reparameterization(weight, family):
    """The change of the same draw with the parameters."""
    made = family(weight)

    def drawn(*parameters):
        return torch.func.functional_call(made, dict(zip(names, parameters, strict=True)), (), strict=True)

    names = [name for name, _ in made.named_parameters()]
    made.forward = lambda: made.rsample(torch.Generator().manual_seed(1))
    assert torch.autograd.gradcheck(drawn, [p.detach().requires_grad_() for p in made.parameters()])
    assert torch.equal(made.rsample(torch.Generator().manual_seed(1)), made.draw(torch.Generator().manual_seed(1)))


@pytest.mark.parametrize("family", FAMILIES)
def test_means_begin_at_the_weights(weight, family):
    mean, _ = family(weight.clamp(-1, 1)).moments()
    torch.testing.assert_close(mean, weight.clamp(-1, 1), atol=0.03, rtol=0)  # ternary ones stay in doubt


def test_ternary_weights_begin_at_ternary_weights_with_their_scale():
    weight = 0.3 * torch.tensor([[1.0, 0.0, -1.0], [0.0, 0.0, 1.0]])
    family = TernaryWeights(weight, certainty=0.9)
    assert family.scale.item() == pytest.approx(0.3)
    torch.testing.assert_close(family.mode(), weight)
    probabilities = torch.stack(family.log_probabilities()).exp()
    assert probabilities.sum(0).allclose(torch.ones(2, 3))
    # Not zero with 0.9, and of the right sign with 0.9 of those.
    assert probabilities[2, 0, 0].item() == pytest.approx(0.81)
    assert probabilities[1, 0, 1].item() == pytest.approx(0.9)


def test_initial_probabilities_are_those_of_shayer():
    """A float weight inside the limits: its mean is kept exactly."""
    weight = torch.tensor([[-1.0, 1.0, 0.1, -0.1]], dtype=torch.float64)
    family = TernaryWeights(weight, certainty=0.95, spread=1.0)
    torch.testing.assert_close(family.moments()[0][:, 2:], weight[:, 2:])
    normal = weight / weight.std(correction=0)
    zero = (0.95 - 0.9 * normal.abs()).clamp(min=0.05)
    torch.testing.assert_close(family.log_probabilities()[1].exp(), zero)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda w: TernaryWeights(w, prior=(0.5, 0.5, 0.5)), "prior: expected probabilities of -1, 0 and 1 above 0"),
        (lambda w: TernaryWeights(w, prior=(0.5, 0.0, 0.5)), "prior: expected"),
        (lambda w: TernaryWeights(w, certainty=1.0), "certainty: expected a probability above 0.5 and below 1"),
        (lambda w: TernaryWeights(torch.zeros_like(w)), "weight: expected weights that are not all the same"),
        (lambda w: TernaryWeights(w, relaxation=0.0), "relaxation: expected a positive number"),
        (lambda w: GaussianWeights(w, prior_std=0.0), "prior_std: expected a positive number"),
        (lambda w: DroppedWeights(w, p=1.0), "p: expected 0 <= value < 1"),
        (lambda w: DroppedWeights(w, p=0.0), "p: expected a positive number"),
    ],
)
def test_bad_choices_are_refused(weight, make, message):
    with pytest.raises(InputError, match=message):
        make(weight)


def test_default_prior_of_gaussians_is_that_of_the_fan_in():
    assert GaussianWeights(nn.Conv2d(4, 2, 3).weight).options["prior_std"] == pytest.approx(1 / 6)


def test_codes_are_named_for_pyro():
    assert TernaryCodes.has_rsample is False  # so no gradient can be hoped for through a draw
