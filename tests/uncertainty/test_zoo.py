"""Networks at random, of layers of all libraries: what holds for every Monte Carlo prediction holds for each.

``TSNN_UQ_ZOO=500 pytest tests/uncertainty/test_zoo.py`` looks at more of them.
"""

from __future__ import annotations

import os
import random
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.helpers.monte_carlo import assert_same_moments, seeded
from tests.helpers.zoo import Animal, Zoo
from tsnn_uq.uncertainty import Moments, mc_moments, mc_predict

SAMPLES = 60
NETWORKS = int(os.environ.get("TSNN_UQ_ZOO", "20"))


def state_of(network: nn.Module) -> list[tuple[str, str, Any]]:
    """All that modules keep, and what is in it."""

    def told(value: Any) -> Any:
        if isinstance(value, Tensor):
            return id(value), value.detach().clone().flatten().tolist()
        if isinstance(value, torch.Generator):
            return id(value), value.get_state().tolist()
        if isinstance(value, dict):
            return {key: told(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [told(item) for item in value]
        return repr(value) if isinstance(value, int | float | str) else id(value)

    return [(name, key, told(value)) for name, one in network.named_modules() for key, value in vars(one).items()]


def independent(probs: Tensor) -> None:
    """Samples that follow each other know nothing of each other."""
    centred = (probs - probs.mean(0)).double().flatten(1)
    scale = centred.square().mean()
    if scale > 1e-9:
        correlation = (centred[1:] * centred[:-1]).mean() / scale
        assert correlation.abs() < 6 / len(probs) ** 0.5


@pytest.mark.parametrize("seed", range(NETWORKS))
def test_every_network(seed):
    animal = Zoo(seed).draw()
    choice = random.Random(seed)
    options = {"samples": SAMPLES, "batch_size": choice.choice([2, 256]), **animal.options}
    options["memory_limit"] = choice.choice([1, 5000, 2**25])
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        check(animal, options)


def check(animal: Animal, options: dict[str, Any]) -> None:
    network, inputs = animal.network.eval(), animal.inputs
    looped = animal.loop(SAMPLES, options["batch_size"])
    if not animal.random and torch.equal(looped, looped[:1].expand_as(looped)):
        return  # nothing is random, or it does not show
    for module in list(network.modules())[::2]:
        module.training = True
    torch.manual_seed(1)
    before, given, state = state_of(network), inputs.clone(), torch.get_rng_state()
    probs = mc_predict(network, inputs, generator=seeded(1), **options)
    assert torch.equal(inputs, given)
    assert torch.equal(torch.get_rng_state(), state)
    assert state_of(network) == before
    assert torch.backends.mha.get_fastpath_enabled()
    assert_same_moments(probs, looped)
    independent(probs)

    torch.manual_seed(2)
    options["samples"] = 7
    few, again, other = (mc_predict(network, inputs, generator=seeded(s), **options) for s in (1, 1, 2))
    assert torch.equal(few, again)
    assert not torch.equal(few, other) or looped.var(0).max() < 1e-3
    moments, expected = mc_moments(network, inputs, generator=seeded(1), **options), Moments.of(few)
    torch.testing.assert_close(moments.mean, expected.mean, rtol=0, atol=1e-9)
    torch.testing.assert_close(moments.squares, expected.squares, rtol=0, atol=1e-9)
