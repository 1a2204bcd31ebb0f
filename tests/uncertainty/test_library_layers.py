from __future__ import annotations

import pytest
import torch
from torch import nn

from tests.helpers.peers import PEERS, library, peer
from tsnn_uq.coding import Coding
from tsnn_uq.uncertainty import DropConnectLinear, Dropout, mc_predict, stochastic_layers
from tsnn_uq.uncertainty.library_layers import is_random


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


WHERE_THE_DROPOUT_IS = {
    "snntorch hidden": "hidden.2",
    "snntorch loop": "drop",
    "spikingjelly multi": "2",
    "spikingjelly single": "layers.2",
    "spikingjelly folded": "2.0",
    "norse": "2.lifted_module",
    "norse loop": "drop",
}


@pytest.mark.parametrize("name", PEERS)
def test_the_dropout_of_each_library_is_found_and_nothing_else(name):
    network, _, _ = peer(name, 0.5)
    assert list(stochastic_layers(network)) == [WHERE_THE_DROPOUT_IS[name]]
    network, _, _ = peer(name, 0.0)
    assert stochastic_layers(network) == {}


def test_spikingjellys_dropconnect_is_found():
    library("spikingjelly")
    from spikingjelly.activation_based import layer

    assert is_random(layer.DropConnectLinear(2, 2, p=0.5))
    assert is_random(layer.Dropout2d(0.5))


class DropNothing(nn.Module):
    def p(self) -> float:
        return 1.0


@pytest.mark.parametrize(
    ("module", "random"),
    [
        (Dropout(0.1), True),
        (Dropout(0.0), False),
        (DropConnectLinear(2, 2, p=0.1), True),
        (DropConnectLinear(2, 2, p=0.0), False),
        (Coding("rate"), True),
        (Coding("constant"), False),
        (Coding("latency"), False),
        (nn.Dropout(0.1), True),
        (nn.Sequential(nn.Dropout(0.1)), False),  # its child is, it is not
        (nn.BatchNorm1d(2), False),
        (DropNothing(), False),
    ],
)
def test_what_is_random(module, random):
    assert is_random(module) == random


@pytest.mark.parametrize("name", PEERS)
def test_a_network_of_another_library_is_random(name):
    network, inputs, options = peer(name, 0.5)
    first, again, other = (mc_predict(network, inputs, samples=6, generator=seeded(s), **options) for s in (1, 1, 2))
    assert first.shape == (6, 6, 3)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.std(0).max() > 0.01
    over_time = mc_predict(network, inputs, samples=6, generator=seeded(1), per_step=True, **options)
    torch.testing.assert_close(over_time[:, -1], first)


@pytest.mark.parametrize("name", PEERS)
@pytest.mark.parametrize("memory_limit", [1, 2**28])
def test_no_state_of_another_library_leaks_between_passes(name, memory_limit):
    # A probability too small to ever drop anything: what varies now is what was left over.
    network, inputs, options = peer(name, 1e-12)
    options |= {"memory_limit": memory_limit, "batch_size": 2, "generator": seeded(1)}
    probs = mc_predict(network, inputs, samples=5, **options)
    torch.testing.assert_close(probs, probs[:1].expand(5, -1, -1), rtol=0, atol=1e-6)
    whole = mc_predict(network, inputs, samples=1, **(options | {"batch_size": 6}))
    torch.testing.assert_close(probs[:1], whole, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", PEERS)
def test_the_hidden_state_of_another_library_is_restored(name):
    network, inputs, options = peer(name, 0.5)
    read = options.get("output", lambda outputs: outputs)
    network.eval()
    read(network(inputs))  # now there is state
    went_on = read(network(inputs))
    network, inputs, options = peer(name, 0.5)
    network.eval()
    network(inputs)
    mc_predict(network, inputs, samples=3, generator=seeded(1), **options)
    assert torch.equal(read(network(inputs)), went_on)


class Remembering(nn.Module):
    """Keeps its potential in a place that nobody knows of."""

    def __init__(self) -> None:
        super().__init__()
        self.drop, self.potential = nn.Dropout(1e-12), None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.potential = self.drop(x) if self.potential is None else self.potential[: len(x)].mean() + x
        return self.potential


def test_other_state_is_reset_by_a_function():
    def reset(network: Remembering) -> None:
        network.potential = None

    network, inputs = Remembering(), torch.rand(4, 3, generator=seeded(0))
    options = {"samples": 3, "generator": seeded(1), "batch_size": 2}
    network(inputs)
    probs = mc_predict(network, inputs, reset=reset, **options)
    torch.testing.assert_close(probs, inputs.softmax(-1).expand(3, -1, -1))
    assert network.potential is not None  # and is left as it was
