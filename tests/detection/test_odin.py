from __future__ import annotations

import pytest
import torch
from torch import nn

from tsnn_uq import networks
from tsnn_uq.checks import InputError
from tsnn_uq.detection import odin_score
from tsnn_uq.networks import Linear


def test_of_a_linear_network_the_step_is_known(generator: torch.Generator) -> None:
    """The gradient of log softmax_c is (w_c - sum_j p_j w_j) / T."""
    network, x = nn.Linear(4, 3).double(), torch.randn(7, 4, generator=generator, dtype=torch.float64)
    with torch.no_grad():
        z = network(x) / 2
        p, best, w = z.softmax(-1), z.argmax(-1), network.weight
        moved = x + 0.1 * (w[best] - p @ w).sign()
        wanted = 1 - (network(moved) / 2).softmax(-1).amax(-1)
    torch.testing.assert_close(odin_score(network, x, temperature=2, epsilon=0.1, batch_size=3), wanted)


def test_without_a_step_and_heat_it_is_the_maximum_softmax(generator: torch.Generator) -> None:
    network = networks.build("dropout", sizes=(12, 16, 3), p=0.5, generator=generator)
    images = 3 * torch.rand(9, 12, generator=generator)
    with torch.no_grad():
        probs = network.eval()(images).mean(0).softmax(-1)
    torch.testing.assert_close(odin_score(network, images, temperature=1, epsilon=0).float(), 1 - probs.amax(-1))


def test_a_step_makes_a_spiking_network_surer_and_leaves_it_as_it_was(generator: torch.Generator) -> None:
    network = networks.build("dropout", sizes=(12, 16, 3), p=0.5, generator=generator).train()
    images = torch.rand(40, 12, generator=generator)
    still, moved = (odin_score(network, images, temperature=1, epsilon=epsilon) for epsilon in (0, 0.3))
    assert moved.mean() < still.mean()
    assert network.training
    assert all(parameter.grad is None for parameter in network.parameters())
    torch.testing.assert_close(
        odin_score(network, images, epsilon=0.3, batch_size=7), odin_score(network, images, epsilon=0.3)
    )


def test_rates_give_no_gradient_and_come_from_the_seed() -> None:
    network = networks.build("dropout", sizes=(12, 8, 3), coding="rate", generator=torch.Generator().manual_seed(0))
    images = torch.rand(6, 12)
    one, same, other = (odin_score(network, images, epsilon=0.5, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_what_does_not_fit_is_refused() -> None:
    network = nn.Sequential(Linear(4, 3))
    with pytest.raises(InputError, match="floating-point inputs"):
        odin_score(network, torch.zeros(3, 4, dtype=torch.int64))
    for options in ({"temperature": 0}, {"epsilon": -1.0}, {"batch_size": 0}):
        with pytest.raises(InputError, match=next(iter(options))):
            odin_score(network, torch.zeros(3, 4), **options)
