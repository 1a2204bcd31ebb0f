"""Graphs of NIR in other people's libraries, and theirs in ours: equal spikes of every neuron at every step."""

from __future__ import annotations

import pytest
import torch

from tests.exchange import table
from tests.exchange.exporters import DIFFERENT, EXPORTERS
from tests.exchange.peers import NOT_READ, OURS, READERS, TIES, our_spikes, ours
from tests.helpers.peers import library
from tsnn_uq.neurons import watch_potentials

pytestmark = pytest.mark.xdist_group("nir")  # the last test asks for what the others found
library("nir")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("nodes", OURS)
@pytest.mark.parametrize("peer", READERS)
def test_our_network_spikes_alike_in_another_library(peer, nodes):
    if (peer, nodes) in NOT_READ:
        with pytest.raises((AssertionError, AttributeError, NotImplementedError, RuntimeError, ValueError)):
            table.written(peer, nodes)
        return
    equal, count = table.written(peer, nodes)
    assert equal == count


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("peer", "nodes"), EXPORTERS)
def test_another_librarys_network_spikes_alike_in_ours(peer, nodes):
    equal, count, largest = table.read(peer, nodes)
    if (peer, nodes) in DIFFERENT:
        assert 0 < equal < count
    else:
        assert largest < 1e-7  # potentials of leaky integrators, whose constants Norse has in float32
        assert equal == count or nodes.endswith("LI")


@pytest.mark.parametrize("nodes", OURS)
def test_the_networks_spike(nodes):
    for spikes in our_spikes(*ours(nodes)):
        assert spikes.abs().mean() > 0.004


def test_potentials_meet_the_threshold():
    network, currents = ours(TIES)
    met = []
    with watch_potentials(network, lambda distance: met.append((distance == 0).float().mean())):
        network(currents)
    assert min(met) > 0.02


@pytest.mark.filterwarnings("ignore")
def test_the_table_of_the_docs_is_the_one_found():
    for peer in READERS:
        library(peer.lower())
    page = table.PAGE.read_text(encoding="utf-8")
    assert table.put(page, table.table()) == page


def test_results_do_not_touch_the_global_generator():
    before = torch.get_rng_state()
    ours(TIES)
    assert torch.equal(torch.get_rng_state(), before)
