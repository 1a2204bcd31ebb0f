"""Bytes that neurons keep for one input, counted by hand."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tests.helpers.peers import peer
from tsnn_uq.coding import Coding
from tsnn_uq.cost import neuron_state_bytes
from tsnn_uq.networks import Conv2d, Linear, OverTime, build
from tsnn_uq.neurons import LI, LIF, PLIF, SRM


def test_one_float_a_neuron_whatever_the_steps(generator):
    for steps in (1, 5):
        network = build("dropout", sizes=(12, 7, 5, 3), steps=steps, generator=generator)
        assert neuron_state_bytes(network, torch.zeros(1, 12)) == 4 * (7 + 5)


def test_maps_have_a_neuron_a_pixel():
    convolution = [Conv2d(1, 4, 3), PLIF(), OverTime(nn.AvgPool2d(2)), Conv2d(4, 2, 2), LIF()]
    network = nn.Sequential(Coding("constant", 3), *convolution)
    assert neuron_state_bytes(network, torch.zeros(1, 1, 8, 8)) == 4 * (4 * 6 * 6 + 2 * 2 * 2)


@pytest.mark.parametrize(("neurons", "numbers"), [(LIF(), 1), (PLIF(), 1), (LI(0.5), 1), (SRM(), 4)], ids=repr)
def test_kinds_of_neurons(neurons, numbers):
    assert neuron_state_bytes(nn.Sequential(Linear(6, 5), neurons), torch.zeros(4, 1, 6)) == 4 * 5 * numbers


def test_neurons_at_two_places_keep_two_potentials():
    neurons = LIF()
    network = nn.Sequential(Linear(6, 5), neurons, Linear(5, 3), neurons)
    assert neuron_state_bytes(network, torch.zeros(4, 1, 6)) == 4 * (5 + 3)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("name", "neurons"),
    [("snntorch hidden", 16), ("snntorch loop", 16 + 2 * 3), ("spikingjelly multi", 16), ("spikingjelly single", 16)],
)
def test_neurons_of_other_libraries_keep_what_they_hold(name, neurons):
    network, inputs, options = peer(name, 0.0)
    one = inputs[:, :1] if options.get("batch_dim") == 1 else inputs[:1]
    assert neuron_state_bytes(network, one) == 4 * neurons
    assert neuron_state_bytes(network, one) == 4 * neurons


def test_a_network_without_neurons_keeps_nothing():
    assert neuron_state_bytes(nn.Sequential(nn.Linear(3, 2), nn.ReLU()), torch.zeros(1, 3)) == 0
