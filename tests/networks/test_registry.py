from __future__ import annotations

import pytest
import torch

from tests.helpers.training import network as tiny
from tsnn_uq.checks import InputError
from tsnn_uq.networks import FAMILIES, build


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("family", FAMILIES)
def test_weights_come_from_the_generator_alone(family):
    def weights(seed: int) -> torch.Tensor:
        network = tiny(family, seed)
        return torch.cat([parameter.detach().flatten() for parameter in network.parameters()])

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        state, first = torch.get_rng_state(), weights(1)
        assert torch.equal(torch.get_rng_state(), state)
        torch.manual_seed(1)
        assert torch.equal(weights(1), first)
    assert not torch.equal(weights(2), first)


def test_two_networks_of_one_generator_differ():
    generator = seeded(0)
    first, second = (build("dropout", generator=generator, sizes=(4, 2))[-1].weight for _ in range(2))
    assert not torch.equal(first, second)


def test_an_unknown_family_is_refused():
    with pytest.raises(
        InputError,
        match=r"^family: expected one of",
    ):
        build("dropot", generator=seeded(0))
