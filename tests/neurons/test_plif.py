"""The PLIF neuron against SpikingJelly's, and against a LIF neuron of the same time constant."""

from __future__ import annotations

import pytest
import torch

pytest.importorskip("spikingjelly", reason="the oracle of these tests")

from spikingjelly.activation_based import functional, neuron, surrogate

from tsnn_uq.checks import InputError
from tsnn_uq.neurons import LIF, PLIF, LIFParameters, lif_scan
from tsnn_uq.neurons import surrogate as our_surrogate

SLOPES = {"arctan": surrogate.ATan(2.0), "sigmoid": surrogate.Sigmoid(4.0)}


def current(shape=(6, 3, 5), seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64).add_(0.7).requires_grad_()


def ours(decay, name="arctan", reset="hard", detach=False):
    return PLIF(LIFParameters(decay, 1.0, reset, detach, our_surrogate(name))).double()


def run(layer, x, seed=1):
    """Spikes, and the gradients of the current and of the layer's parameter."""
    spikes = layer(x)
    weights = torch.randn(spikes.shape, generator=torch.Generator().manual_seed(seed), dtype=spikes.dtype)
    (parameter,) = layer.parameters()
    return spikes.detach(), *torch.autograd.grad((spikes * weights).sum(), (x, parameter))


@pytest.mark.parametrize("detach", [False, True])
@pytest.mark.parametrize("reset", ["hard", "soft"])
@pytest.mark.parametrize("name", sorted(SLOPES))
@pytest.mark.parametrize("decay", [0.5, 0.8, 0.1])
def test_forward_and_gradients_equal_spikingjellys(decay, name, reset, detach):
    peer = neuron.ParametricLIFNode(
        init_tau=1 / (1 - decay),
        v_reset=0.0 if reset == "hard" else None,
        surrogate_function=SLOPES[name],
        detach_reset=detach,
        step_mode="m",
    ).double()
    x = current()
    expected = run(peer, x)
    functional.reset_net(peer)
    torch.testing.assert_close(run(ours(decay, name, reset, detach), x), expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("reset", ["hard", "soft"])
def test_a_current_that_is_held_is_a_current_like_any_other(reset):
    x = current((1, 4, 7))
    layer = ours(0.6, reset=reset)
    results = []
    for over_time in (x.expand(5, -1, -1), x.repeat(5, 1, 1)):
        spikes = layer(over_time)
        spikes.square().mul(torch.arange(5).reshape(-1, 1, 1)).sum().backward()
        results.append((spikes.detach(), x.grad.clone(), layer.a.grad.clone()))
        x.grad = layer.a.grad = None
    torch.testing.assert_close(*results)


def test_a_tau_is_a_lif_neurons_decay():
    x = current().detach()
    layer = ours(0.75)
    assert layer.tau == pytest.approx(4)
    assert torch.equal(layer(x), LIF(LIFParameters(0.75, reset="hard"))(x / 4))
    assert "tau=4" in repr(layer)


def test_the_time_constant_is_learned():
    """Gradient descent finds the time constant of the neuron that made the spikes."""
    x = current((20, 1, 400)).detach()
    wanted = ours(0.9)(x).sum(0).detach()
    layer = ours(0.5)
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.1)
    for _ in range(60):
        optimizer.zero_grad()
        (layer(x).sum(0) - wanted).square().mean().backward()
        optimizer.step()
    assert layer.tau == pytest.approx(10, rel=0.1)


def test_steps_that_were_never_charged_teach_nothing():
    """From rest, the first step does not decay."""
    decay = torch.tensor(0.5, dtype=torch.float64, requires_grad=True)
    lif_scan(current((1, 2, 3)), LIFParameters(), decay).sum().backward()
    assert decay.grad == 0


@pytest.mark.parametrize("decay", [0.0, 1.0])
def test_no_time_constant_is_zero_or_infinite(decay):
    with pytest.raises(InputError, match="decay: expected above 0 and below 1"):
        PLIF(LIFParameters(decay))


def test_a_current_without_time_is_refused():
    with pytest.raises(InputError, match=r"current: expected floats of shape \[T, N, ...\] with T >= 1"):
        PLIF()(torch.zeros(0, 2, 3))
