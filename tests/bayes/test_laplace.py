from __future__ import annotations

import math

import pytest
import torch
from scipy.optimize import minimize_scalar
from torch import nn
from torch.autograd.functional import hessian
from torch.func import functional_call
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

from tests.helpers.peers import PEERS, peer
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
    outputs = logits(laplace.network(images()[0])).double()
    fit_term = -cross_entropy(outputs, images()[1], reduction="sum")
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


# The last layer, wherever it is and however it is read.


class Net(nn.Module):
    """Hidden features, a head that is registered first, and another head that only training uses."""

    def __init__(self, read=lambda steps: torch.stack(steps), bias=True, mixed=False):
        super().__init__()
        self.head, self.body, self.auxiliary = nn.Linear(4, 3, bias), nn.Linear(16, 4), nn.Linear(4, 3)
        self.read, self.mixed = read, mixed

    def forward(self, inputs):
        steps, state = [], 0.0
        for step in range(3):
            state = 0.7 * state + self.body(inputs.flatten(1) * (step + 1)).relu()
            auxiliary = self.auxiliary(state)
            steps.append(self.head(state) + auxiliary * self.mixed)
        return self.read(steps)


READS = {
    "steps": lambda steps: torch.stack(steps),
    "mean": lambda steps: torch.stack(steps).mean(0),
    "sum": sum,
    "last": lambda steps: steps[-1],
    "weighted": lambda steps: 0.5 * steps[0] - 2 * steps[2],
    "gain": lambda steps: 10 * torch.stack(steps),
    "in place": lambda steps: steps[0].add_(steps[1]).mul_(0.5),
}
"""What a network may do with the outputs of its last layer, at each of three steps."""


class Folded(nn.Module):
    """All steps in one call of the head: folded into the batch with time or with inputs first, or on an axis."""

    def __init__(self, how):
        super().__init__()
        self.head, self.body, self.how = nn.Linear(4, 3), nn.Linear(16, 4), how

    def forward(self, inputs):
        count = len(inputs)
        steps = torch.stack([self.body(k * inputs.flatten(1)).relu() for k in (1, 2, 3)])
        if self.how == "time first":
            return self.head(steps.flatten(0, 1)).unflatten(0, (3, count))
        if self.how == "inputs first":
            return self.head(steps.transpose(0, 1).flatten(0, 1)).unflatten(0, (count, 3)).mean(1)
        if self.how == "an axis of inputs first":
            return self.head(steps.transpose(0, 1)).mean(1)
        return self.head(steps)


NETWORKS = {
    **{f"loop, {name}": (lambda read=read: Net(read)) for name, read in READS.items()},
    "no bias": lambda: Net(bias=False),
    **{
        how: (lambda how=how: Folded(how))
        for how in ("time first", "inputs first", "an axis", "an axis of inputs first")
    },
    "alone": lambda: nn.Sequential(nn.Flatten(), nn.Linear(16, 3)),
}


def made(name):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return NETWORKS[name]()


@pytest.mark.parametrize("name", NETWORKS)
def test_the_precision_is_the_hessian_however_the_last_layer_is_read(name):
    model, train = made(name), images()
    laplace = LastLayerLaplace(model, train, structure="full", prior_precision=0.7, batch_size=5)
    layer = model.get_submodule(laplace.layer)
    assert layer is getattr(model, "head", model[-1] if isinstance(model, nn.Sequential) else None)
    model = model.double()
    bias = layer.bias is not None
    weight = torch.cat([layer.weight, layer.bias.unsqueeze(1)], 1) if bias else layer.weight

    def loss(flat):
        matrix = flat.reshape(weight.shape)
        parts = {f"{laplace.layer}.weight": matrix[:, :-1] if bias else matrix}
        if bias:
            parts[f"{laplace.layer}.bias"] = matrix[:, -1]
        return cross_entropy(logits(functional_call(model, parts, (train[0].double(),))), train[1], reduction="sum")

    expected = hessian(loss, weight.detach().flatten()) + 0.7 * torch.eye(weight.numel())
    torch.testing.assert_close(precision(laplace), expected, atol=1e-5, rtol=1e-5)
    assert all(parameter.requires_grad for parameter in laplace.network.parameters())


@pytest.mark.parametrize("name", ["loop, mean", "time first"])
def test_a_layer_can_be_named(name):
    found, named = (LastLayerLaplace(made(name), images(), layer=layer) for layer in (None, "head"))
    assert torch.equal(found.eigenvalues, named.eigenvalues)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_has_the_curvature_of_float(dtype):
    model = made("loop, mean")
    train = images()
    expected = LastLayerLaplace(model, train, structure="full")
    half = LastLayerLaplace(model.to(dtype), (train[0].to(dtype), train[1]), structure="full")
    assert half.layer == "head"
    close = {"rtol": 0.1, "atol": 0.02 * expected.eigenvalues.max().item()}
    torch.testing.assert_close(half.eigenvalues, expected.eigenvalues, **close)
    drawn = half.sample(torch.Generator().manual_seed(0))
    assert drawn.head.weight.dtype == dtype


@pytest.mark.parametrize("name", [name for name in PEERS if name != "snntorch loop"])  # which ends in neurons
def test_networks_of_other_libraries_in_all_forms_of_data(name):
    model, inputs, options = peer(name, 0.2)
    dim, labels = options.get("batch_dim", 0), torch.arange(6) % 3
    model(inputs)  # holds a graph now
    whole = LastLayerLaplace(model, (inputs, labels), **options)
    items = TensorDataset(inputs.movedim(dim, 0), labels)
    loader = DataLoader([(one, k) for k, one in enumerate(inputs.movedim(dim, 0))], 4, collate_fn=collated(dim))
    for train, batch_size in (((inputs, labels), 1), ((inputs, labels), 4), (items, 4), (loader, 1)):
        parts = LastLayerLaplace(model, train, batch_size=batch_size, **options)
        assert parts.prior_precision == pytest.approx(whole.prior_precision, rel=1e-5)
        torch.testing.assert_close(parts.eigenvalues, whole.eigenvalues, rtol=1e-5, atol=1e-8)


def collated(dim):
    def collate(items):
        return torch.stack([item for item, _ in items], dim), torch.tensor([number % 3 for _, number in items])

    return collate


# Where curvature vanishes.


def certain(margin, labels):
    """A network whose logit of the right class is above the others by `margin`, and inputs for it."""
    model = nn.Sequential(nn.Linear(3, 3, bias=False))
    with torch.no_grad():
        model[0].weight.copy_(margin * torch.eye(3))
    return model, (torch.eye(3)[labels], labels)


@structures
@pytest.mark.parametrize("margin", [1.0, 40.0, 200.0])
def test_the_prior_precision_of_a_network_that_is_always_right(structure, margin):
    """By hand: p = exp(-margin) of each other class where margin is large."""
    model, train = certain(margin, torch.arange(30) % 3)
    laplace = LastLayerLaplace(model, train, structure=structure)
    values, size = laplace.eigenvalues.double(), 3 * margin**2
    log_precision = math.log(laplace.prior_precision)

    def evidence(log):  # by Kass and Raftery's formula, the terms that vary
        precision = math.exp(log)
        return -(precision * size + (values / precision).log1p().sum().item()) / 2

    around = [evidence(log_precision + shift) for shift in (-1.0, 0.0, 1.0)]
    assert around[1] > around[0]
    assert around[1] > around[2]
    if margin >= 40:
        # Ten images a class: variances 2 p of the right class and p of the others, features of length 1.
        assert values.sum().item() == pytest.approx(30 * 4 * math.exp(-margin), rel=1e-4)
        assert laplace.prior_precision == pytest.approx(math.sqrt(values.sum().item() / size), rel=1e-3)


def test_where_no_prior_precision_is_best_one_is_asked_for(generator):
    model, train = certain(1000.0, torch.arange(30) % 3)
    with pytest.raises(InputError, match="prior_precision: expected a number above 0"):
        LastLayerLaplace(model, train)
    laplace = LastLayerLaplace(model, train, prior_precision=4.0)
    draws = torch.stack([laplace.sample(generator)[0].weight.detach() for _ in range(500)])
    assert draws.std(0).mean().item() == pytest.approx(0.5, rel=0.05)  # the prior's
    with torch.no_grad():
        model[0].weight.zero_()
    with pytest.raises(InputError, match="prior_precision: expected a number above 0"):
        LastLayerLaplace(model, train)


# What does not fit.


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda x, y: (x, y + 3), "labels: expected labels from 0 to 2"),
        (lambda x, y: (x, y - 1), "labels: expected labels from 0 to 2"),
        (lambda x, y: (x, y.float()), "labels: expected whole class numbers"),
        (lambda x, y: (x, y[:-1]), "train: expected as many images as labels"),
        (lambda x, y: (x[:0], y[:0]), "train: expected as many images as labels"),
        (lambda x, y: (x / 0, y), "train: expected finite values"),
        (lambda x, y: (x.where(torch.rand_like(x) < 0.9, torch.nan), y), "train: expected finite values"),
    ],
)
def test_data_that_do_not_fit_are_refused(change, match):
    with pytest.raises(InputError, match=match):
        LastLayerLaplace(made("loop, mean"), change(*images()))


@pytest.mark.parametrize(
    ("model", "layer", "match"),
    [
        (lambda: Net(lambda steps: torch.stack(steps).relu()), None, "network: expected logits that are"),
        (lambda: Net(lambda steps: sum(steps).log_softmax(-1)), None, "network: expected logits that are outputs"),
        (lambda: Net(lambda steps: steps[0] ** 2), None, "network: expected logits that are outputs"),
        (lambda: Net(mixed=True), None, "network: expected logits .* depend on several:"),
        (lambda: Net(mixed=True), "head", "network: expected logits that are outputs of layer 'head'"),
        (lambda: Net(), "body", "network: expected logits that are outputs of layer 'body'"),
        (lambda: Net(), "tail", "layers: expected names among: head, body, auxiliary"),
        (lambda: nn.Sequential(nn.Conv2d(1, 3, 4), nn.Flatten()), None, "layers: expected a choice that matches"),
        (lambda: nn.Sequential(nn.Conv2d(1, 3, 4), nn.Flatten()), "0", "layer: expected a fully connected layer"),
    ],
)
def test_networks_that_do_not_end_in_a_linear_layer_are_refused(model, layer, match):
    with pytest.raises(InputError, match=match):
        LastLayerLaplace(model(), images(), layer=layer)


def test_unfit_networks_are_refused(monkeypatch):
    with pytest.raises(InputError, match="network: expected logits that are outputs of layer"):
        LastLayerLaplace(network("dropout", readout="spikes", neuron=EAGER), images())
    with pytest.raises(InputError, match="structure: expected one of"):
        LastLayerLaplace(small(), images(), structure="kron")
    with pytest.raises(InputError, match="prior_precision: expected a positive number"):
        LastLayerLaplace(small(), images(), prior_precision=0)
    unfrozen = small()
    ternarize(unfrozen)
    with pytest.raises(InputError, match=r"network: expected plain weights; that of '.'"):
        LastLayerLaplace(unfrozen, images())
    monkeypatch.setattr("tsnn_uq.bayes.laplace.LARGEST", 10)
    with pytest.raises(InputError, match="structure: expected 'kronecker' or 'diagonal' for more than 10 weights"):
        LastLayerLaplace(small(), images(), structure="full")
