"""What exchange is for: a network trained here spikes alike in three other libraries, and theirs work here in full."""

from __future__ import annotations

import copy

import pytest
import torch

from tests.exchange.exporters import exported
from tests.exchange.peers import PRECISION, READERS, our_spikes, their_spikes
from tests.helpers.peers import library
from tsnn_uq import data, networks, training
from tsnn_uq.engine import Engine
from tsnn_uq.exchange import from_nir, read_nir, to_nir, write_nir
from tsnn_uq.neurons import LIFParameters
from tsnn_uq.quantization import freeze, ternarize
from tsnn_uq.quantization.rules import ternary_parts
from tsnn_uq.uncertainty import make_stochastic, mc_predict

library("nir")
THEIRS = {
    "Norse": "Affine, LIF",
    "snnTorch": "Affine, Linear, LIF",
    "SpikingJelly": "Affine, Linear, LIF (decay_input=True)",
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A ternary network trained on handwritten digits, the graph in its file, and test images as currents."""
    digits, generator = data.load("digits"), torch.Generator().manual_seed(0)
    neuron = LIFParameters(reset="hard")
    network = networks.build("dropout", sizes=(64, 64, 10), steps=8, neuron=neuron, generator=generator)
    settings = training.FitSettings(epochs=3, learning_rate=0.01)
    train = digits.train.images, digits.train.labels
    training.fit(network, train, seed=0, method=training.Direct(), settings=settings)
    network.eval()
    path = tmp_path_factory.mktemp("graph") / "digits.nir"
    write_nir(path, to_nir(network, (1, 8, 8)))
    images = digits.test.images[:64]
    with torch.no_grad():
        accuracy = (network(images).mean(0).argmax(-1) == digits.test.labels[:64]).float().mean()
    assert accuracy > 0.8
    return network, path, images.expand(8, *images.shape)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("peer", READERS)
def test_a_network_trained_here_spikes_alike_in_another_library(trained, peer):
    network, path, currents = trained
    currents = currents.to(PRECISION[peer])
    ours = our_spikes(copy.deepcopy(network).to(currents.dtype)[1:], currents)
    theirs = their_spikes(peer, read_nir(path), currents)
    assert len(ours) == len(theirs) > 0
    for a, b in zip(ours, theirs, strict=True):
        assert 0.02 < a.mean() < 0.98
        assert torch.equal(a, b)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("peer", THEIRS)
def test_another_librarys_network_runs_in_the_engine_ternary_and_with_dropout(peer):
    theirs = exported(peer, THEIRS[peer])
    currents = theirs.currents.float()
    network = from_nir(theirs.graph, dt=theirs.dt).eval()
    spikes = Engine(network)(currents)
    assert (spikes == theirs.outputs).float().mean() > 0.999  # float sums in another order
    layers = ternarize(network)
    freeze(network)
    assert all(ternary_parts(network.get_submodule(name).weight) is not None for name in layers)
    make_stochastic(network, "dropout", p=0.5, layers=layers[1:])
    options = {"samples": 8, "batch_size": 16}
    engine = Engine(network)
    probs = engine.mc_predict(currents, generator=torch.Generator().manual_seed(0), **options)
    assert probs.shape == (8, 32, 10)
    assert probs.var(0).sum() > 0
    expected = mc_predict(network, currents, generator=torch.Generator().manual_seed(0), batch_dim=1, **options)
    assert ((probs - expected).abs() < 1e-5).float().mean() > 0.98
