from __future__ import annotations

import sys

import pytest
import torch
from torch import Tensor, nn

from tests.helpers.peers import library
from tsnn_uq.state import copy_at_rest, is_instance_of, rest
from tsnn_uq.uncertainty import make_stochastic, set_generator


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


SNNTORCH = {
    "Leaky": {"beta": 0.9},
    "Lapicque": {"beta": 0.9},
    "DeltaLeaky": {"delta_threshold": 0.1, "beta": 0.9},
    "Synaptic": {"alpha": 0.5, "beta": 0.9},
    "Alpha": {"alpha": 0.9, "beta": 0.5},
    "RLeaky": {"beta": 0.9, "all_to_all": False},
    "RSynaptic": {"alpha": 0.5, "beta": 0.9, "linear_features": 3},
    "SLSTM": {"input_size": 3, "hidden_size": 3, "threshold": 0.1},
    "SConv2dLSTM": {"in_channels": 3, "out_channels": 3, "kernel_size": 1, "threshold": 0.1},
}

ONLY_MULTI_STEP = {"GatedLIFNode", "DSRIFNode", "MaskedPSN"}
SPIKINGJELLY = {
    "IFNode": {},
    "LIFNode": {},
    "ParametricLIFNode": {},
    "QIFNode": {},
    "EIFNode": {},
    "IzhikevichNode": {},
    "GatedLIFNode": {"T": 3},
    "DSRIFNode": {"T": 3},
    "MaskedPSN": {"k": 2, "T": 3},
    "SlidingPSN": {"k": 2},
    "synapse filter": {"tau": 2.0},
    "delay": {"delay_steps": 1},
    "linear recurrent": {},
    "dropout": {"p": 0.5},
}


def snntorch_neuron(name: str) -> nn.Module:
    return getattr(library("snntorch"), name)(**SNNTORCH[name], init_hidden=True)


def spikingjelly_module(name: str, mode: str) -> nn.Module:
    library("spikingjelly")
    from spikingjelly.activation_based import functional, layer, neuron

    if name == "linear recurrent":
        made = layer.LinearRecurrentContainer(neuron.LIFNode(), in_features=3, out_features=3)
    else:
        others = {"synapse filter": layer.SynapseFilter, "delay": layer.Delay, "dropout": layer.Dropout}
        made = (others.get(name) or getattr(neuron, name))(**SPIKINGJELLY[name])
    functional.set_step_mode(made, mode)
    return made


def nested(make) -> nn.Module:
    """A network that has the module deep inside, twice, after a layer with weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = make()
        return nn.ModuleDict({"first": nn.Linear(3, 3), "rest": nn.ModuleList([nn.Sequential(module), module])})


def run(network: nn.Module, inputs: Tensor) -> Tensor:
    """Outputs of three calls, one after the other."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)  # for what draws random numbers
        inputs = network["first"](inputs)
        outputs = [network["rest"][0](4 * inputs) for _ in range(3)]
    return torch.stack([one[0] if isinstance(one, tuple) else one for one in outputs])


CASES = [("snntorch", name, "") for name in SNNTORCH] + [
    ("spikingjelly", name, mode) for name in SPIKINGJELLY for mode in ("m" if name in ONLY_MULTI_STEP else "sm")
]


@pytest.fixture(params=CASES, ids=lambda case: " ".join(case).strip())
def case(request):
    """A network with state, inputs for it, and inputs for another number of examples."""
    source, name, mode = request.param
    if source == "snntorch":
        network = nested(lambda: snntorch_neuron(name))
        shape = (3, 3, 2, 3) if name == "SConv2dLSTM" else (3, 3)
    else:
        network = nested(lambda: spikingjelly_module(name, mode))
        shape = (3, 4, 3) if mode == "m" else (4, 3)
    batch = 1 if len(shape) == 3 else 0
    inputs = torch.rand(shape, generator=seeded(0)) + 0.3
    return network.train(), inputs, inputs.narrow(batch, 0, 2)


def test_after_a_rest_a_network_gives_what_a_new_one_gives(case):
    network, inputs, fewer = case
    twin = copy_at_rest(network)
    first, of_fewer = run(twin, inputs), run(copy_at_rest(network), fewer)
    for given, expected in ((inputs, first), (fewer, of_fewer), (inputs, first)):
        rest(network)
        outputs = run(network, given)
        assert torch.equal(outputs, expected)
        loss = outputs.square().sum()
        if loss.requires_grad:  # a second pass through the graph of the first would raise here
            loss.backward()


def test_a_network_that_holds_a_graph_is_copied_at_rest(case):
    network, inputs, _ = case
    fresh = run(copy_at_rest(network), inputs)
    run(network, inputs)
    twin = copy_at_rest(network)
    assert torch.equal(run(twin, inputs), fresh)
    assert all(torch.equal(one, other) for one, other in zip(twin.parameters(), network.parameters(), strict=True))


def test_the_original_of_a_copy_keeps_its_state():
    network = nested(lambda: snntorch_neuron("Leaky"))
    inputs = torch.rand(2, 3, generator=seeded(0))
    run(network, inputs)
    potential = network["rest"][1].mem
    copy_at_rest(network)
    assert network["rest"][1].mem is potential
    assert potential.requires_grad


class Recorder(nn.Module):
    """Keeps what it saw, graphs and all, where nobody knows of it."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.seen = nn.Linear(2, 2), {"outputs": [], "pair": None}

    def forward(self, inputs: Tensor) -> Tensor:
        outputs = self.layer(inputs)
        self.seen["outputs"].append(outputs)
        self.seen["pair"] = (outputs, outputs.detach())
        self.again = outputs
        return outputs


def test_graphs_are_left_out_of_a_copy_wherever_they_are():
    network = Recorder()
    outputs = network(torch.ones(1, 2))
    twin = copy_at_rest(network)
    kept = [*twin.seen["outputs"], *twin.seen["pair"], twin.again]
    assert all(torch.equal(tensor, outputs) and not tensor.requires_grad for tensor in kept)
    assert twin.again is twin.seen["outputs"][0]  # what was one tensor is one still
    assert twin.layer.weight.requires_grad
    assert outputs.requires_grad


def test_modules_are_put_in_the_place_of_others_in_a_copy():
    network = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    other = nn.Tanh()
    assert copy_at_rest(network, {id(network[1]): other})[1] is other


class Foreign(nn.Module):
    """Has all the attributes by which state might be guessed, and none of the classes."""

    def __init__(self) -> None:
        super().__init__()
        self.held, self.mem, self._memories = 1, 2, {"v": 3}

    def reset(self) -> None:
        raise AssertionError("this is no state")

    reset_mem = reset_hidden = reset_state = reset_states = reset


def test_a_module_with_attributes_of_the_same_names_is_left_alone():
    rest(nn.Sequential(Foreign(), nn.Linear(1, 1)))


def test_classes_of_users_are_put_to_rest_by_their_own_method():
    snn = library("snntorch")

    class Neuron(snn.Leaky):
        def reset_mem(self):
            self.resets = getattr(self, "resets", 0) + 1
            return super().reset_mem()

    neuron = Neuron(beta=0.9)
    rest(nn.Sequential(nn.Sequential(neuron)))
    assert neuron.resets == 1


def test_snntorchs_neurons_without_state_are_left_alone():
    snn = library("snntorch")
    rest(nn.Sequential(snn.StateLeaky(beta=0.5, channels=3), snn.LeakyParallel(3, 3)))


def test_a_network_of_snntorch_alone_is_put_to_rest():
    """`snntorch.utils.reset` puts neurons of all networks of a class to rest."""
    one, other = nested(lambda: snntorch_neuron("Leaky")), nested(lambda: snntorch_neuron("Leaky"))
    inputs = torch.rand(2, 3, generator=seeded(0))
    run(one, inputs)
    run(other, inputs)
    rest(one)
    assert not one["rest"][1].mem.any()
    assert other["rest"][1].mem.any()


@pytest.mark.parametrize("kind", ["dropout", "dropconnect"])
def test_masks_that_are_kept_are_drawn_anew(kind):
    network = nn.Sequential(nn.Linear(30, 30), nn.Sequential(nn.ReLU(), nn.Linear(30, 3)))
    make_stochastic(network, kind, p=0.5)
    set_generator(network, seeded(0))
    inputs = torch.rand(2, 30, generator=seeded(0))
    first = network(inputs)
    assert torch.equal(network(inputs), first)
    rest(network)
    assert not torch.equal(network(inputs), first)


def test_modules_without_state_are_left_alone():
    network = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2), nn.LSTM(2, 2))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    rest(network)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_no_library_is_imported_to_know_its_classes(monkeypatch):
    libraries = ("snntorch", "spikingjelly", "spikingjelly.activation_based.base")
    for name in libraries:
        monkeypatch.delitem(sys.modules, name, raising=False)
    rest(nn.Linear(1, 1))
    assert not is_instance_of(nn.Linear(1, 1), "snntorch", "Leaky")
    assert not set(libraries) & set(sys.modules)


def test_what_a_module_is():
    snn = library("snntorch")
    assert is_instance_of(snn.Leaky(beta=0.5), "snntorch", "SpikingNeuron")
    assert not is_instance_of(snn.Leaky(beta=0.5), "snntorch", "Synaptic")
    assert not is_instance_of(nn.Linear(1, 1), "snntorch", "surrogate")  # a module, no class
