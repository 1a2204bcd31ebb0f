"""Ternary weights under the transforms of torch.func, `torch.compile` and `torch.export`."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, hessian, jacfwd, jacrev, jvp, vmap
from torch.nn.functional import cross_entropy

from tsnn_uq.quantization import SCALES, freeze, ternarize

pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")  # by torch.func itself

RULES = ["mean-fraction", "mean-rounding", "quantile", "learned"]
IMAGES = torch.rand(5, 1, 3, 3, generator=torch.Generator().manual_seed(1))
LABELS = torch.arange(5) % 3

Parameters = dict[str, Tensor]


def network(rule: str, scale: str = "channel", dtype: torch.dtype = torch.float32) -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layers = nn.ConvTranspose2d(1, 4, 2, groups=1), nn.Conv2d(4, 4, 2, groups=2), nn.Flatten(), nn.Linear(36, 3)
    model = nn.Sequential(*layers).to(dtype)
    ternarize(model, rule=rule, scale=scale)
    return model


def parameters(model: nn.Module) -> Parameters:
    return {name: parameter.detach() for name, parameter in model.named_parameters()}


def one_loss(model: nn.Module):
    return lambda values, image, label: cross_entropy(functional_call(model, values, (image[None],)), label[None])


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("scale", SCALES)
def test_gradients_of_each_input_are_those_of_a_loop(rule, scale):
    model = network(rule, scale)
    together = vmap(grad(one_loss(model)), (None, 0, 0))(parameters(model), IMAGES, LABELS)
    for place in range(5):
        model.zero_grad()
        cross_entropy(model(IMAGES[place : place + 1]), LABELS[place : place + 1]).backward()
        for name, parameter in model.named_parameters():
            torch.testing.assert_close(together[name][place], parameter.grad, rtol=1e-4, atol=1e-6)
            assert parameter.grad.any()


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("scale", SCALES)
def test_an_ensemble_of_stacked_weights_is_one_network_after_the_other(rule, scale):
    model = network(rule, scale)
    values = parameters(model)
    stacked = {name: torch.stack([value, 2 * value + 0.1, -value.flip(0)]) for name, value in values.items()}
    run = lambda member: functional_call(model, member, (IMAGES,))  # noqa: E731
    loss = lambda member: cross_entropy(run(member), LABELS)  # noqa: E731
    outputs, gradients = vmap(run)(stacked), vmap(grad(loss))(stacked)
    for place in range(3):
        member = {name: value[place] for name, value in stacked.items()}
        torch.testing.assert_close(outputs[place], run(member))
        for name, gradient in grad(loss)(member).items():
            torch.testing.assert_close(gradients[name][place], gradient, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("rule", RULES)
def test_forward_mode_and_reverse_mode_agree(rule):
    model = network(rule)
    values = parameters(model)
    run = lambda member: functional_call(model, member, (IMAGES,))  # noqa: E731
    forward, reverse = jacfwd(run)(values), jacrev(run)(values)
    for name in values:
        torch.testing.assert_close(forward[name], reverse[name], rtol=1e-4, atol=1e-5)
    tangents = {name: torch.full_like(value, 0.5) for name, value in values.items()}
    _, change = jvp(run, (values,), (tangents,))
    wanted = sum((jacobian * 0.5).reshape(5, 3, -1).sum(-1) for jacobian in reverse.values())
    torch.testing.assert_close(change, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("rule", RULES)
def test_the_hessian_is_that_of_the_frozen_weights(rule):
    """Straight through: the ternary weight moves as the float one does."""
    model = network(rule)
    image, label, name = IMAGES[0], LABELS[0], "3.parametrizations.weight.original"
    values = parameters(model)
    found = hessian(lambda weight: one_loss(model)({**values, name: weight}, image, label))(values[name])
    freeze(model)
    values = parameters(model)
    wanted = hessian(lambda weight: one_loss(model)({**values, "3.weight": weight}, image, label))(values["3.weight"])
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)
    assert wanted.any()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # the compiler's own
@pytest.mark.parametrize("rule", ["mean-fraction", "learned"])
def test_a_compiled_and_an_exported_network_are_the_same_network(rule):
    model = network(rule)
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    results = []
    for run in (model, compiled):
        model.zero_grad()
        outputs = run(IMAGES)
        cross_entropy(outputs, LABELS).backward()
        results.append([outputs.detach(), *(parameter.grad.clone() for parameter in model.parameters())])
    for plain, other in zip(*results, strict=True):
        torch.testing.assert_close(other, plain)
    exported = torch.export.export(model.eval(), (IMAGES,)).module()
    torch.testing.assert_close(exported(IMAGES), model(IMAGES))
