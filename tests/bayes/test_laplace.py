from __future__ import annotations

import pytest
import torch
from scipy.optimize import minimize_scalar
from torch import nn
from torch.autograd.functional import hessian
from torch.func import functional_call
from torch.nn.functional import cross_entropy

from tests.helpers.training import EAGER, images, network, same
from tsnn_uq.bayes import LastLayerLaplace
from tsnn_uq.bayes.laplace import STRUCTURES
from tsnn_uq.checks import InputError
from tsnn_uq.quantization import ternarize
from tsnn_uq.readout import logits
from tsnn_uq.training import FitSettings, fit

structures = pytest.mark.parametrize("structure", STRUCTURES)


def small(classes=3, seed=0):
    """A spiking network, a little trained, whose last layer has a bias."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = network("dropout", sizes=(16, 4, classes), p=0.0, neuron=EAGER)
        model[-1] = nn.Linear(4, classes)
    fit(model, images(classes=classes), seed=0, settings=FitSettings(epochs=5, batch_size=8, learning_rate=0.02))
    return model


def brute_force(model, train):
    """Hessian of the summed loss in the last layer's weights, the bias as a last column [C * d, C * d]; double."""
    model = model.double()
    x, y = train[0].double(), train[1]
    name, layer = list(model.named_modules())[-1]
    weight = torch.cat([layer.weight, layer.bias.unsqueeze(1)], 1).detach()

    def loss(flat):
        matrix = flat.reshape(weight.shape)
        parts = {f"{name}.weight": matrix[:, :-1], f"{name}.bias": matrix[:, -1]}
        return cross_entropy(logits(functional_call(model, parts, (x,))), y, reduction="sum")

    return hessian(loss, weight.flatten())


def precision(laplace):
    """The dense precision matrix, from the eigenvalues and the basis."""
    count = laplace.eigenvalues.numel()
    shape = laplace.eigenvalues.shape
    basis = torch.stack([laplace._to_weights(row.reshape(shape)).flatten() for row in torch.eye(count).double()], 1)
    torch.testing.assert_close(basis @ basis.T, torch.eye(count).double())
    return basis @ torch.diag(laplace.eigenvalues.flatten() + laplace.prior_precision) @ basis.T


@pytest.mark.parametrize("classes", [2, 3])
def test_full_precision_is_the_hessian(classes):
    model, train = small(classes), images(classes=classes)
    laplace = LastLayerLaplace(model, train, structure="full", prior_precision=0.7)
    expected = brute_force(model, train)
    torch.testing.assert_close(precision(laplace), expected + 0.7 * torch.eye(len(expected)), atol=1e-5, rtol=1e-5)


def test_diagonal_precision_is_the_hessians_diagonal():
    model, train = small(), images()
    laplace = LastLayerLaplace(model, train, structure="diagonal", prior_precision=0.7)
    diagonal = brute_force(model, train).diagonal() + 0.7
    torch.testing.assert_close(precision(laplace), diagonal.diag(), atol=1e-5, rtol=1e-5)


def test_two_classes_are_logistic_regression():
    """sum of p (1 - p) f f^T, for the difference of the two rows of weights."""
    model, train = small(2), images(classes=2)
    laplace = LastLayerLaplace(model, train, structure="full", prior_precision=0.5)
    seen = []
    model[-1].register_forward_pre_hook(lambda _, given: seen.append(given[0].mean(0)))
    probs = logits(model(train[0])).softmax(-1)
    features = torch.cat([seen[0], torch.ones(len(seen[0]), 1)], 1).double()
    curvature = features.T @ ((probs[:, :1] * probs[:, 1:]).double() * features)
    difference = torch.cat([torch.eye(5), -torch.eye(5)]).double() / 2  # moves the rows apart
    expected = curvature + 0.5 / 2 * torch.eye(5)
    matrix = difference.T @ precision(laplace) @ difference
    torch.testing.assert_close(matrix, expected.double(), atol=1e-5, rtol=1e-5)


def test_kronecker_is_exact_where_all_inputs_have_the_same_probabilities():
    model, train = small(), images()
    nn.init.zeros_(model[-1].weight)
    nn.init.zeros_(model[-1].bias)
    full, product = (
        LastLayerLaplace(model, train, structure=name, prior_precision=2.0) for name in ("full", "kronecker")
    )
    torch.testing.assert_close(precision(product), precision(full), atol=1e-5, rtol=1e-5)


@structures
def test_draws_have_the_covariance(structure, generator):
    laplace = LastLayerLaplace(small(), images(), structure=structure, prior_precision=1.0)
    draws = [laplace.sample(generator)[-1] for _ in range(500)]
    weights = torch.stack([torch.cat([d.weight, d.bias.unsqueeze(1)], 1).detach().flatten() for d in draws]).double()
    expected = precision(laplace).inverse()
    torch.testing.assert_close(torch.cov(weights.T), expected, atol=0.25 * expected.diagonal().max(), rtol=0)
    std = expected.diagonal().sqrt()
    assert ((weights.mean(0) - laplace.mean.flatten()).abs() < 5 * std / 500**0.5).all()


@structures
def test_prior_precision_is_that_of_the_highest_evidence(structure):
    laplace = LastLayerLaplace(small(), images(), structure=structure)
    best = minimize_scalar(lambda log: -laplace.log_evidence(float(torch.tensor(log).exp())), bounds=(-12, 12))
    assert torch.tensor(laplace.prior_precision).log().item() == pytest.approx(best.x, abs=1e-3)


def test_evidence_of_a_bayesian_linear_model_is_the_closed_form():
    """Laplace's formula is exact for a normal likelihood; here its curvature is put in place of the softmax's."""
    laplace = LastLayerLaplace(small(), images(), structure="full", prior_precision=0.3)
    matrix = precision(laplace)
    size = laplace.mean.numel()
    fit_term = -cross_entropy(laplace.outputs, images()[1], reduction="sum")
    prior = torch.distributions.MultivariateNormal(torch.zeros(size).double(), torch.eye(size).double() / 0.3)
    posterior = torch.distributions.MultivariateNormal(laplace.mean.flatten(), precision_matrix=matrix)
    at = laplace.mean.flatten()
    expected = fit_term + prior.log_prob(at) - posterior.log_prob(at)
    assert laplace.log_evidence(0.3) == pytest.approx(expected.item(), rel=1e-6)


def test_draws_differ_in_the_last_layer_alone_and_repeat(generator):
    model = small()
    laplace = LastLayerLaplace(model, images())
    one, other = laplace.sample(generator), laplace.sample(generator)
    assert torch.equal(one[2].weight, model[2].weight)
    assert not torch.equal(one[-1].weight, other[-1].weight)
    assert same(one, laplace.sample(torch.Generator().manual_seed(0)))
    probs = laplace.predict(images()[0], samples=4, generator=generator)
    assert probs.shape == (4, 16, 3)
    assert (probs.std(0) > 0).any()


def test_a_network_that_never_spikes_is_refused():
    """Its last layer's weights change nothing, so that the data say nothing of them."""
    silent = network("dropout", sizes=(16, 4, 3), p=0.0)
    train = images(classes=3)
    with pytest.raises(InputError, match=r"network: expected inputs of the last layer that are not all 0"):
        LastLayerLaplace(silent, (torch.zeros_like(train[0]), train[1]))


def test_unfit_networks_are_refused(monkeypatch):
    with pytest.raises(InputError, match="network: expected outputs that are those of the last linear layer"):
        LastLayerLaplace(network("dropout", readout="spikes", neuron=EAGER), images())
    with pytest.raises(InputError, match="structure: expected one of full, kronecker, diagonal; got 'kron'"):
        LastLayerLaplace(small(), images(), structure="kron")
    with pytest.raises(InputError, match="prior_precision: expected a positive number; got 0"):
        LastLayerLaplace(small(), images(), prior_precision=0)
    unfrozen = small()
    ternarize(unfrozen)
    with pytest.raises(InputError, match=r"network: expected plain weights; that of '.' is parametrized"):
        LastLayerLaplace(unfrozen, images())
    monkeypatch.setattr("tsnn_uq.bayes.laplace.LARGEST", 10)
    with pytest.raises(InputError, match="structure: expected 'kronecker' or 'diagonal' for more than 10 weights"):
        LastLayerLaplace(small(), images(), structure="full")
