from __future__ import annotations

import itertools

import pytest
import torch
from torch import nn

from tests.helpers.training import images, network
from tsnn_uq.checks import InputError
from tsnn_uq.neurons import (
    LIF,
    PLIF,
    SRM,
    SURROGATES,
    LIFParameters,
    SRMParameters,
    lif_scan,
    lif_step,
    srm_potentials,
    srm_scan,
    surrogate,
    watch_potentials,
)

every_neuron = [
    LIFParameters(0.75, 1.3, reset, detach, surrogate(name))
    for reset, detach, name in itertools.product(("soft", "hard"), (True, False), sorted(SURROGATES))
]


def loop(current, decay, params):
    """`lif_step` over time, with the potentials before the reset."""
    potential, spikes, charged = None, [], []
    for step in current:
        charged.append(step if potential is None else decay * potential + step)
        fired, potential = lif_step(charged[-1], None, params)
        spikes.append(fired)
    return torch.stack(spikes), torch.stack(charged)


def random(shape, generator):
    return torch.randn(shape, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("params", every_neuron, ids=lambda p: f"{p.reset}-{p.detach_reset}-{p.surrogate.name}")
@pytest.mark.parametrize("held", [False, True])
@pytest.mark.parametrize("learns", [False, True])
def test_potentials_and_their_gradient_are_those_of_the_loop(params, held, learns, generator):
    leaf = random((1 if held else 6, 3, 4), generator).add_(0.5).requires_grad_()
    decay = torch.tensor(params.decay, dtype=torch.float64, requires_grad=True)
    on_spikes, on_potentials = random((6, 3, 4), generator), random((6, 3, 4), generator)
    seen = []
    current = leaf.expand(6, -1, -1)
    spikes = lif_scan(current, params, decay if learns else None, watch=seen.append)
    expected_spikes, expected = loop(current, decay, params)
    assert torch.equal(spikes, lif_scan(current, params))
    torch.testing.assert_close(seen[0], expected)
    wanted = [leaf, decay] if learns else [leaf]

    def gradients(spikes, potentials):
        total = (on_spikes * spikes).sum() + (on_potentials * potentials.square()).sum()
        return torch.autograd.grad(total, wanted)

    torch.testing.assert_close(gradients(spikes, seen[0]), gradients(expected_spikes, expected))


def test_potentials_alone_have_a_true_gradient(generator):
    """Below the threshold a neuron is a smooth filter."""
    current = random((5, 2, 3), generator).abs().div_(-1).requires_grad_()

    def potentials(x):
        seen = []
        lif_scan(x, LIFParameters(), watch=seen.append)
        return seen[0]

    assert torch.autograd.gradcheck(potentials, current)


@pytest.mark.parametrize("held", [False, True])
def test_srm_potentials_flow_back_through_the_response(held, generator):
    """Without spikes, u is linear in the current, whatever the gradient of its spikes is."""
    params = SRMParameters(threshold=5.0, step_ms=4.0)
    leaf = random((1 if held else 8, 2, 3), generator).requires_grad_()
    weights = random((8, 2, 3), generator)
    seen = []
    current = leaf.expand(8, -1, -1)
    spikes = srm_scan(current, params, watch=seen.append)
    potentials, expected_spikes = srm_potentials(current, params)
    assert torch.equal(seen[0], potentials)
    assert torch.equal(spikes, expected_spikes)
    decay, gain = params.response
    times = torch.arange(8, dtype=torch.float64)
    lags = (times[:, None] - times).clamp_min(0)
    response = gain * lags * decay**lags  # [t, of the input]
    (gradient,) = torch.autograd.grad((weights * seen[0]).sum(), leaf, retain_graph=True)
    expected = torch.einsum("ti,tnk->ink", response, weights)
    torch.testing.assert_close(gradient, expected.sum(0, keepdim=True) if held else expected)
    both = torch.autograd.grad((weights * (spikes + seen[0])).sum(), leaf)[0]
    spikes_alone = torch.autograd.grad((weights * srm_scan(current, params)).sum(), leaf)[0]
    torch.testing.assert_close(both, gradient + spikes_alone)


@pytest.mark.parametrize(
    "layer", [LIF(LIFParameters(threshold=0.5)), PLIF(), SRM(SRMParameters(threshold=2.0, step_ms=5.0))]
)
def test_layers_tell_the_distance_in_thresholds(layer, generator):
    current = random((6, 4, 5), generator).add_(1)
    seen = []
    with watch_potentials(nn.Sequential(layer), seen.append):
        spikes = layer(current)
    assert torch.equal((seen[0] >= 0).double(), spikes)
    assert 0 < spikes.mean() < 1
    assert torch.equal(layer(current), spikes)
    assert len(seen) == 1  # no one watches any more


def test_every_layer_of_a_network_is_seen_and_left_alone_afterwards():
    model = network("plif").eval()
    seen = []
    pixels = images()[0]
    with pytest.raises(InputError, match="inputs: expected"), watch_potentials(model, seen.append):
        model(pixels.flatten(1))
    with watch_potentials(model, seen.append):
        outputs = model(pixels)
    assert [list(one.shape) for one in seen] == [[2, 16, 3, 4, 4], [2, 16, 3, 2, 2], [2, 16, 8], [2, 16, 30]]
    assert torch.equal(outputs, model(pixels))
    assert all(module.watch is None for module in model.modules() if isinstance(module, PLIF))
    with pytest.raises(InputError, match="got none"):
        watch_potentials(nn.Linear(2, 2), seen.append).__enter__()
