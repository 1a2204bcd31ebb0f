"""Networks that torch.compile has compiled, in part or as a whole, give the samples of those that it has not."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.helpers.monte_carlo import seeded
from tests.helpers.peers import peer
from tsnn_uq.uncertainty import mc_moments, mc_predict

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


@pytest.fixture(autouse=True)
def compiler() -> Iterator[None]:
    """Whatever was compiled before is forgotten."""
    torch.compiler.reset()
    yield
    torch.compiler.reset()


class Block(nn.Module):
    """Dropout by a layer and by a function, beside a BatchNorm."""

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.norm, self.drop = nn.Linear(8, 8), nn.BatchNorm1d(8), nn.Dropout(0.5)

    def forward(self, x: Tensor) -> Tensor:
        return functional.dropout(self.drop(self.norm(self.fc(x)).relu()), 0.2, self.training)


def plain() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(8, 8), Block(), nn.Linear(8, 3)).eval()


def whole(network: nn.Module) -> nn.Module:
    return torch.compile(network, backend="aot_eager")


def dynamic(network: nn.Module) -> nn.Module:
    return torch.compile(network, backend="aot_eager", dynamic=True)


def child(network: nn.Module) -> nn.Module:
    network[1] = torch.compile(network[1], backend="aot_eager")
    return network


def in_place(network: nn.Module) -> nn.Module:
    network.compile(backend="aot_eager")
    return network


def method(network: nn.Module) -> nn.Module:
    network[1].forward = torch.compile(network[1].forward, backend="eager")
    return network


@pytest.mark.slow
@pytest.mark.parametrize("compiled", [whole, child, dynamic, in_place, method])
def test_a_compiled_network_gives_the_samples_of_the_network(compiled: Callable[[nn.Module], nn.Module]):
    inputs = torch.rand(6, 8, generator=seeded(0))
    expected = mc_predict(plain(), inputs, samples=20, generator=seeded(1), memory_limit=2000)
    network = compiled(plain())
    with torch.no_grad():
        before = [network(inputs[:count]) for count in (6, 4, 3)]  # now it has seen several batch sizes
    kept = [dict(vars(module)) for module in network.modules()]
    probs = mc_predict(network, inputs, samples=20, generator=seeded(1), memory_limit=2000)
    assert torch.equal(probs, expected)
    assert len(probs[:, 0].unique(dim=0)) > 10
    moments = mc_moments([network, network], inputs, samples=40, generator=seeded(1))
    assert moments.predictive_variance.min() > 1e-3
    assert [[one[key] is value for key, value in vars(module).items()] for module, one in zip(
        network.modules(), kept, strict=True)] == [[True] * len(one) for one in kept]  # fmt: skip
    with torch.no_grad():  # it is compiled still, and in evaluation mode
        assert all(torch.equal(network(inputs[: len(one)]), one) for one in before)


def test_masks_of_a_compiled_spiking_network_are_as_asked():
    network, inputs, options = peer("spikingjelly multi", 0.5)
    compiled = copy.deepcopy(network)
    compiled[2] = torch.compile(compiled[2], backend="aot_eager")
    for mask in ("fixed", "per-step", None):
        first, second = (
            mc_predict(one, inputs, samples=5, generator=seeded(1), mask=mask, **options) for one in (network, compiled)
        )
        assert torch.equal(first, second)
