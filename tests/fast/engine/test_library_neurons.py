"""Networks of snnTorch and SpikingJelly in the engine as they are: against the networks themselves, step by step.

Weights are ternary codes times powers of two, inputs and thresholds multiples of eighths and decays halves, so that
all arithmetic is exact and spikes are equal bit for bit.
"""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tests.helpers.peers import library
from tests.helpers.spiking import fill, seeded
from tsnn_uq.checks import InputError
from tsnn_uq.coding import constant_current
from tsnn_uq.engine import BACKENDS, Engine
from tsnn_uq.state import rest
from tsnn_uq.uncertainty import make_stochastic, mc_predict

STEPS, COUNT = 6, 5
IMAGE = (2, 8, 8)


def currents(*shape):
    return torch.randint(-4, 9, (STEPS, COUNT, *shape), generator=seeded(0)) / 8


def leaky(**options):
    return library("snntorch").Leaky(**{"beta": 0.5, "threshold": 0.75, "init_hidden": True} | options)


def node(kind, **options):
    library("spikingjelly")
    from spikingjelly.activation_based import neuron

    return getattr(neuron, kind)(**{"v_threshold": 0.75, "step_mode": "m"} | options)


NEURONS = {
    "Leaky": lambda: leaky(),
    "Leaky of beta 0.25": lambda: leaky(beta=0.25),
    "Leaky that keeps all": lambda: leaky(beta=1.0),
    "Leaky that keeps nothing": lambda: leaky(beta=0.0),
    "Leaky, to zero": lambda: leaky(reset_mechanism="zero"),
    "Leaky, to zero at once": lambda: leaky(reset_mechanism="zero", reset_delay=False),
    "Leaky of one beta a neuron": lambda: leaky(beta=torch.full((40,), 0.5), threshold=torch.full((40,), 0.75)),
    "LIFNode": lambda: node("LIFNode", tau=2.0, v_threshold=0.25),
    "LIFNode, soft": lambda: node("LIFNode", tau=2.0, v_threshold=0.25, v_reset=None),
    "LIFNode, reset elsewhere": lambda: node("LIFNode", tau=2.0, v_threshold=-0.25, v_reset=-0.5),
    "LIFNode without decay of the input": lambda: node("LIFNode", tau=4.0, decay_input=False),
    "IFNode": lambda: node("IFNode"),
    "IFNode, soft": lambda: node("IFNode", v_reset=None),
    "ParametricLIFNode": lambda: node("ParametricLIFNode", init_tau=2.0, decay_input=False),
}


def themselves(network, inputs):
    """What a network of another library gives for [T, N, ...]: all steps at once, or one after the other."""
    rest(network)
    with torch.no_grad():
        if any(getattr(module, "step_mode", "s") == "m" for module in network.modules()):
            outputs = network(inputs)
        else:
            outputs = torch.stack([network(step) for step in inputs])
    rest(network)
    return outputs


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kind", NEURONS)
def test_spikes_are_those_of_the_network_itself(kind, backend):
    network = fill(
        nn.Sequential(nn.Linear(20, 40), NEURONS[kind](), nn.Linear(40, 40), NEURONS[kind]()), "power of two"
    )
    for inputs in (currents(20), constant_current(currents(20)[0], STEPS)):
        expected = themselves(network, inputs)
        assert 0.02 < expected.mean() < 0.98
        assert torch.equal(Engine(network, backend=backend)(inputs), expected)


def snntorch_network():
    layers = [nn.Conv2d(2, 33, 3, padding=1), nn.BatchNorm2d(33), leaky(), nn.MaxPool2d(2), nn.Flatten()]
    return nn.Sequential(
        *layers, nn.Linear(33 * 16, 40), leaky(reset_mechanism="zero"), nn.Dropout(0.3), nn.Linear(40, 10)
    )


def spikingjelly_network():
    library("spikingjelly")
    from spikingjelly.activation_based import functional, layer

    front = [
        layer.Conv2d(2, 33, 3, padding=1),
        layer.BatchNorm2d(33),
        node("LIFNode", v_threshold=0.25),
        layer.AvgPool2d(2, 2),
    ]
    back = [layer.Flatten(), layer.Linear(33 * 16, 40), node("IFNode", v_reset=None), layer.Dropout(0.3)]
    network = nn.Sequential(nn.Sequential(*front), *back, layer.Linear(40, 10))
    functional.set_step_mode(network, "m")
    return network


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("make", [snntorch_network, spikingjelly_network])
def test_convolutional_networks_run_as_they_are(make, backend):
    network = fill(make(), "power of two").eval()
    inputs = currents(*IMAGE)
    expected = themselves(network, inputs)
    assert expected.std() > 0.1
    engine = Engine(network, IMAGE, backend=backend)
    torch.testing.assert_close(engine(inputs), expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(engine.logits(inputs), expected.mean(0), rtol=1e-4, atol=1e-4)
    probs = engine.mc_predict(inputs, samples=4, generator=seeded(0))
    assert probs.shape == (4, COUNT, 10)
    assert probs.var(0).sum() > 0


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["dropout", "dropconnect"])
@pytest.mark.parametrize("make", [snntorch_network, spikingjelly_network])
def test_what_make_stochastic_puts_on_is_drawn_alike(make, kind):
    network = fill(make(), "power of two").eval()
    network[-2].p = 0.0
    make_stochastic(network, kind, p=0.5, layers="fc")
    inputs = currents(*IMAGE)
    probs = Engine(network.train(), IMAGE).mc_predict(inputs, samples=3, generator=seeded(0), batch_size=2)
    assert probs.var(0).sum() > 0
    if make is spikingjelly_network:  # snnTorch's has to be called step by step
        expected = mc_predict(network.eval(), inputs, samples=3, generator=seeded(0), batch_size=2, batch_dim=1)
        torch.testing.assert_close(probs, expected, rtol=1e-4, atol=1e-5)


REFUSED = {
    "subtracted at once": (lambda: leaky(reset_delay=False), "reset_delay=False"),
    "no reset": (lambda: leaky(reset_mechanism="none"), "reset_mechanism='none'"),
    "state outside": (lambda: leaky(init_hidden=False), "init_hidden=False"),
    "inhibition": (lambda: leaky(inhibition=True), "inhibition"),
    "graded spikes": (lambda: leaky(graded_spikes_factor=2.0), "graded_spikes_factor"),
    "several betas": (lambda: leaky(beta=torch.linspace(0.1, 0.9, 40)), "one beta"),
    "Synaptic": (lambda: library("snntorch").Synaptic(0.5, 0.5, init_hidden=True), r"got Synaptic \('1'\)"),
    "QIFNode": (lambda: node("QIFNode"), r"got QIFNode \('1'\)"),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", REFUSED)
def test_neurons_that_the_engine_has_not_are_refused(kind):
    make, words = REFUSED[kind]
    with pytest.raises(InputError, match=words):
        Engine(nn.Sequential(nn.Linear(20, 40), make(), nn.Linear(40, 10)))
