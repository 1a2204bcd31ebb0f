"""Networks of ours as graphs of NIR: the same numbers, exact ternary weights, and what is refused by name."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from tests.exchange.peers import seeded
from tests.helpers.peers import library
from tsnn_uq import networks
from tsnn_uq.checks import InputError
from tsnn_uq.coding import Coding
from tsnn_uq.exchange import from_nir, to_nir
from tsnn_uq.networks import Conv2d, Linear, OverTime
from tsnn_uq.neurons import LI, LIF, PLIF, SRM, LIFParameters, surrogate
from tsnn_uq.quantization import freeze, ternarize
from tsnn_uq.readout import Gain
from tsnn_uq.uncertainty import Dropout, make_stochastic

library("nir")
HARD = LIFParameters(decay=0.7, threshold=0.9, reset="hard", detach_reset=False, surrogate=surrogate("triangle", 0.8))


@pytest.fixture(autouse=True)
def weights():
    """Layers are built alike each time."""
    with seeded():
        yield


def kinds(graph):
    return [type(node).__name__ for node in graph.nodes.values()]


def averages(network):
    """A PLIF network with average pooling in place of maximum pooling."""
    for layer in network:
        if isinstance(layer, OverTime) and isinstance(layer.module, nn.MaxPool2d):
            layer.module = nn.AvgPool2d(2)
    return network


FAMILIES = {
    "dropout, current": ("dropout", {"sizes": (12, 20, 5), "neuron": HARD}, (12,)),
    "dropout, spikes": ("dropout", {"sizes": (12, 20, 5), "neuron": HARD, "readout": "spikes"}, (3, 4)),
    "dropconnect": ("dropconnect", {"sizes": (12, 20, 5), "neuron": HARD, "coding": "latency"}, (12,)),
    "plif": ("plif", {"shape": (1, 8, 8), "hidden": (4, 4, 30), "classes": 5}, (1, 8, 8)),
    "plif, current": ("plif", {"shape": (1, 8, 8), "hidden": (4, 4, 30), "readout": "current"}, (1, 8, 8)),
}


@pytest.mark.parametrize("scale", [None, "layer", "channel", "none"])
@pytest.mark.parametrize("family", FAMILIES)
def test_families_come_back_as_they_were(family, scale, generator):
    name, options, shape = FAMILIES[family]
    network = averages(networks.build(name, generator=generator, **options))
    for norm in (layer.module for layer in network if isinstance(layer, OverTime)):
        if isinstance(norm, nn.BatchNorm2d):
            norm.running_var.uniform_(0.02, 0.1, generator=generator)
    with torch.no_grad():
        for layer in of_type(network, nn.Linear) + of_type(network, nn.Conv2d):
            layer.weight.mul_(12 if name == "plif" else 4)
    if scale:
        ternarize(network, scale=scale)  # not frozen
    images = torch.rand(8, *shape, generator=generator)
    graph = to_nir(network, shape)
    loaded = from_nir(graph)
    network.eval()
    currents = network[0](images)
    expected = network(images)
    assert expected.abs().sum() > 0
    if name != "plif":
        assert torch.equal(loaded(currents), expected)
        pairs = zip(of_type(network, nn.Linear), of_type(loaded, nn.Linear), strict=True)
        assert all(torch.equal(a.weight, b.weight) for a, b in pairs)
    else:  # BatchNorm is folded, and so rounded elsewhere
        found = loaded.double()(currents.double())
        torch.testing.assert_close(found, network.double()(images.double()), rtol=1e-4, atol=1e-5)
    flattens = [[(flatten.start_dim, flatten.end_dim) for flatten in of_type(x, nn.Flatten)] for x in (network, loaded)]
    assert flattens[0] == flattens[1] or len(shape) == 1  # where there is nothing to flatten
    assert [neurons.params for neurons in of_type(loaded, LIF)] == [n.params for n in of_type(network, LIF)]
    assert [neurons.a for neurons in of_type(loaded, PLIF)] == [neurons.a for neurons in of_type(network, PLIF)]


def of_type(network, kind):
    return [module for module in network.modules() if isinstance(module, kind)]


def test_the_network_stays_as_it_is(generator):
    network = networks.build("dropout", sizes=(12, 20, 5), neuron=HARD, generator=generator)
    network[2].register_buffer("mark", torch.ones(1))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    graph = to_nir(network, (12,))
    graph.nodes["2"].weight[:] = 0
    assert network.training
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())


@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize("scale", ["layer", "channel", "none"])
def test_ternary_weights_are_scale_times_code_exactly(scale, norm, generator):
    layer, bn = Conv2d(2, 6, 3, stride=2), nn.BatchNorm2d(6)
    bn.running_var.uniform_(0.1, 2, generator=generator)
    with torch.no_grad():
        bn.weight.uniform_(-1, 1, generator=generator)
    ternarize(layer, scale=scale)
    freeze(layer)
    middle = [OverTime(bn)] if norm else []
    network = nn.Sequential(layer, *middle, LIF(HARD)).eval()
    node = to_nir(network, (2, 9, 7)).nodes["0"]
    codes, scales = node.metadata["codes"], node.metadata["scale"]
    assert codes.dtype == np.int8
    assert scales.dtype == np.float32
    assert set(np.unique(codes)) == {-1, 0, 1}
    assert len(scales) == (6 if scale == "channel" or norm else 1)
    assert np.array_equal(scales * codes, node.weight)
    assert norm or np.array_equal(node.weight, layer.weight.detach().numpy())
    inputs = torch.rand(3, 4, 2, 9, 7, generator=generator, dtype=torch.float64)
    folded = from_nir(to_nir(network, (2, 9, 7)))[0].double()
    torch.testing.assert_close(folded(inputs), network.double()[: 1 + len(middle)](inputs), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("bias", [True, False])
def test_batch_norm_behind_a_linear_layer_is_folded(bias, affine, generator):
    bn = nn.BatchNorm1d(6, affine=affine)
    bn.running_mean.uniform_(-1, 1, generator=generator)
    network = nn.Sequential(Linear(5, 6, bias=bias), OverTime(bn)).double().eval()
    graph = to_nir(network, (5,))
    assert kinds(graph) == ["Input", "Affine", "Output"]
    inputs = torch.rand(3, 4, 5, generator=generator, dtype=torch.float64)
    torch.testing.assert_close(from_nir(graph).double()(inputs), network(inputs), rtol=1e-6, atol=1e-6)


def test_what_is_left_out_is_in_the_metadata(generator):
    network = networks.build("dropconnect", sizes=(12, 20, 5), neuron=HARD, coding="rate", generator=generator)
    metadata = to_nir(network, (12,)).metadata
    assert "DropConnectLinear" in metadata["left_out"]
    assert "rate" in metadata["input"]
    assert "dt" in metadata
    plain = nn.Sequential(Linear(3, 2), LIF(HARD))
    assert "left_out" not in to_nir(plain, (3,)).metadata
    make_stochastic(plain, "dropconnect", p=0.4)
    assert "DroppedWeight" in to_nir(plain, (3,)).metadata["left_out"]


def test_constants_of_neurons_are_those_of_euler_steps():
    network = nn.Sequential(Linear(3, 2, bias=False), LIF(HARD), LIF(LIFParameters(decay=1.0, reset="hard")), PLIF())
    nodes = to_nir(network, (3,)).nodes
    assert kinds(to_nir(network, (3,))) == ["Input", "Linear", "LIF", "IF", "LIF", "Output"]
    np.testing.assert_allclose(nodes["1"].tau, 1e-4 / 0.3)
    np.testing.assert_allclose(nodes["1"].v_threshold, 0.9 * 0.3, rtol=1e-6)
    np.testing.assert_allclose(nodes["2"].r, 1e4)
    np.testing.assert_allclose(nodes["3"].tau, 2e-4)
    assert (nodes["3"].v_threshold < 1).all()
    assert all((nodes[name].v_reset == 0).all() for name in "123")


def test_a_node_changed_by_hand_is_read_as_it_is():
    graph = to_nir(nn.Sequential(Linear(3, 2), LIF(HARD)), (3,))
    graph.nodes["1"].tau *= 2
    assert from_nir(graph)[1].params.decay == pytest.approx(0.85)
    assert from_nir(graph)[1].params.threshold == pytest.approx(1.8)


def test_a_synapse_and_its_neurons_are_one_node(generator):
    network = nn.Sequential(Linear(3, 2), LI(0.5, 0.25), LIF(replace(HARD, detach_reset=True)), LI(0.9))
    nn.init.uniform_(network[0].weight)
    graph = to_nir(network, (3,))
    assert kinds(graph) == ["Input", "Affine", "CubaLIF", "LI", "Output"]
    currents = 9 * torch.rand(20, 4, 3, generator=generator)
    loaded = from_nir(graph)
    torch.testing.assert_close(loaded(currents), network(currents))
    assert network(currents).sum() > 0
    found, expected = (torch.autograd.grad(x(currents).sum(), x[0].weight)[0] for x in (loaded, network))
    torch.testing.assert_close(found, expected)


def test_layers_of_nested_sequences_keep_their_names():
    network = nn.Sequential(Coding(), nn.Sequential(nn.Flatten(2), Linear(4, 2)), nn.Identity(), LIF(HARD))
    assert list(to_nir(network, (2, 2)).nodes) == ["input", "1.0", "1.1", "3", "output"]
    assert list(to_nir(nn.Sequential(Coding(), nn.Flatten(2), Linear(4, 2)), (4,)).nodes) == ["input", "2", "output"]


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("padding", [0, (2, 1), "same", "valid"])
def test_shapes_are_those_of_torch(padding, groups):
    layer = Conv2d(2, 4, (3, 5), padding=padding, groups=groups, dilation=(2, 1))
    network = nn.Sequential(layer, OverTime(nn.AvgPool2d((2, 1), stride=(1, 2))), nn.Flatten(2))
    outputs = network(torch.zeros(1, 1, 2, 11, 9))
    assert to_nir(network, (2, 11, 9)).output_type["output"].tolist() == list(outputs.shape[2:])


SOFT = LIF(LIFParameters())
REFUSED = {
    "soft reset": ([Linear(3, 2), SOFT], (3,), r"LIF \('1'\).*reset=\"hard\""),
    "soft reset of PLIF": ([PLIF(LIFParameters())], (3,), r"PLIF \('0'\).*reset=\"hard\""),
    "maximum": ([OverTime(nn.MaxPool2d(2))], (1, 4, 4), r"MaxPool2d \('0'\).*average pooling"),
    "spike response": ([Linear(3, 2), SRM()], (3,), r"SRM \('1'\)"),
    "norm in front": ([OverTime(nn.BatchNorm1d(3)), Linear(3, 2)], (3,), r"BatchNorm1d \('0'\)"),
    "norm behind neurons": ([Linear(3, 2), LIF(HARD), OverTime(nn.BatchNorm1d(2))], (3,), r"BatchNorm1d \('2'\)"),
    "norm without statistics": (
        [Linear(3, 2), OverTime(nn.BatchNorm1d(2, track_running_stats=False))],
        (3,),
        "running statistics",
    ),
    "norm of others": ([Linear(3, 2), OverTime(nn.BatchNorm1d(3))], (3,), "of 2 channels"),
    "gain inside": ([Gain(2.0), Linear(3, 2)], (3,), r"last layer; got Linear \('1'\)"),
    "padding": ([Conv2d(1, 1, 3, padding=1, padding_mode="circular")], (1, 4, 4), "padded with zeros"),
    "rounded up": ([OverTime(nn.AvgPool2d(2, ceil_mode=True))], (1, 5, 5), "whole windows"),
    "flattened time": ([nn.Flatten(1)], (1, 4), "all but time and batch"),
    "shape": ([Linear(3, 2)], (4,), r"takes inputs of shape \[4\]"),
    "maps": ([nn.Linear(3, 2)], (5, 3), "expected layers of matching shapes"),
    "another library": ([nn.Linear(3, 2), nn.ReLU()], (3,), r"ReLU \('1'\)"),
    "nothing": ([Coding()], (3,), "at least one layer"),
    "coding inside": ([Linear(3, 2), Coding()], (3,), r"Coding \('1'\)"),
    "sizes": ([Linear(3, 2)], (0,), "input_shape"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_nir_cannot_say_is_refused_by_name(kind):
    layers, shape, words = REFUSED[kind]
    with pytest.raises(InputError, match=words):
        to_nir(nn.Sequential(*layers), shape)


def test_dropout_of_torch_is_left_out_too():
    graph = to_nir(nn.Sequential(Linear(3, 2), Dropout(0.5), OverTime(nn.Dropout(0.1)), LIF(HARD)), (3,))
    assert kinds(graph) == ["Input", "Affine", "LIF", "Output"]
    assert graph.metadata["left_out"].count("Dropout") == 2
