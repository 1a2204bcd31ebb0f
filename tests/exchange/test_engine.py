"""The engine takes everything that `from_nir` gives: networks of ours that came back, and those of other libraries."""

from __future__ import annotations

import pytest
import torch

from tests.exchange.exporters import EXPORTERS, exported
from tests.exchange.peers import OURS, ours
from tests.helpers.peers import library
from tsnn_uq.engine import Engine
from tsnn_uq.exchange import from_nir, to_nir

pytestmark = pytest.mark.xdist_group("nir")
library("nir")


def assert_outputs_are_those_of(network, currents):
    engine = Engine(network, currents.shape[2:])
    with torch.no_grad():
        expected = network(currents)
    found = engine(currents).reshape(expected.shape)
    # Sums of floats in another order may decide otherwise at the threshold; of these hundreds, one input at most does.
    alike = torch.isclose(found, expected, rtol=1e-4, atol=1e-5).flatten(2).all(2).all(0)
    assert alike.sum() >= len(alike) - 1


@pytest.mark.parametrize("nodes", OURS)
def test_a_network_that_left_and_came_back(nodes):
    network, currents = ours(nodes, torch.float32)
    assert_outputs_are_those_of(from_nir(to_nir(network, currents.shape[2:])), currents)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("peer", "nodes"), EXPORTERS)
def test_a_network_of_another_library(peer, nodes):
    library(peer.lower())
    theirs = exported(peer, nodes)
    network, currents = from_nir(theirs.graph, dt=theirs.dt), theirs.currents.float()
    if theirs.outputs.dim() > 3:  # a map
        network.append(torch.nn.Flatten(2))
    assert_outputs_are_those_of(network, currents)
