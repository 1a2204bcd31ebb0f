"""Synaptic operations against the matrix of each layer, other layouts of time, and SpikingJelly's counters."""

from __future__ import annotations

import warnings

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from tests.helpers.peers import library
from tsnn_uq import networks
from tsnn_uq.checks import InputError
from tsnn_uq.coding import constant_current, pack_spikes
from tsnn_uq.cost import count_activity, count_layers
from tsnn_uq.quantization import ternarize


def matrix(layer: nn.Module, shape: torch.Size) -> Tensor:
    """The layer without bias as a matrix [inputs, outputs], from its answers to one input at a time."""
    units = torch.eye(shape.numel()).reshape(-1, *shape)
    with torch.no_grad():
        return (layer(units) - layer(0 * units)).flatten(1)


def wanted(layer: nn.Module, spikes: Tensor) -> tuple[list[int], list[int]]:
    """Operations, and those with weights that are not zero, of spikes [n, ...]: each meets a matrix entry once."""
    found = []
    for whole in (True, False):
        kept = layer.weight.detach().clone()
        if whole:
            layer.weight.data.fill_(1.0)
        fan_out = (matrix(layer, spikes.shape[1:]) != 0).sum(1)
        layer.weight.data.copy_(kept)
        found.append([int(fan_out[one.flatten() != 0].sum()) for one in spikes])
    return found[0], found[1]


@st.composite
def layers(draw: st.DrawFn) -> tuple[nn.Module, torch.Size | None]:
    axes, groups = draw(st.integers(0, 3)), draw(st.integers(1, 2))
    if axes == 0:
        return nn.Linear(draw(st.integers(1, 5)), draw(st.integers(1, 5)), bias=draw(st.booleans())), None
    sizes = {"kernel_size": draw(st.integers(1, 2)), "stride": draw(st.integers(1, 2))}
    sizes |= {"padding": draw(st.integers(0, 1)), "dilation": draw(st.integers(1, 2)), "groups": groups}
    channels = groups * draw(st.integers(1, 2)), groups * draw(st.integers(1, 2))
    kind = draw(st.sampled_from(["Conv", "ConvTranspose"]))
    return getattr(nn, f"{kind}{axes}d")(*channels, **sizes), torch.Size([3] * axes)


@given(layers(), st.integers(0, 99))
def test_operations_are_the_entries_of_the_matrix_that_spikes_meet(
    case: tuple[nn.Module, torch.Size | None], seed: int
) -> None:
    layer, size = case
    generator = torch.Generator().manual_seed(seed)
    shape = (layer.in_features,) if size is None else (layer.in_channels, *size)
    layer.weight.data = torch.randint(-1, 2, layer.weight.shape, generator=generator).float()
    spikes = 0.5 * torch.randint(2, (4, *shape), generator=generator).float()
    (found,) = count_activity(nn.Sequential(layer, nn.Flatten()), spikes)
    assert found.spiking
    assert (found.operations[0].tolist(), found.nonzero[0].tolist()) == wanted(layer, spikes)


@given(layers())
def test_numbers_that_are_no_spikes_meet_all_weights(case: tuple[nn.Module, torch.Size | None]) -> None:
    layer, size = case
    shape = (layer.in_features,) if size is None else (layer.in_channels, *size)
    layer.weight.data.flatten()[0] = 0
    values = torch.linspace(1, 2, 3 * torch.Size(shape).numel()).reshape(3, *shape)
    values[0] = 0  # an input that is dark among others
    (found,), (count,) = (
        counts(nn.Sequential(layer, nn.Flatten()), values) for counts in (count_activity, count_layers)
    )
    assert not found.spiking
    assert found.operations.tolist() == [[count.macs] * 3]
    assert found.nonzero[0].tolist() == pytest.approx([count.macs * (1 - count.sparsity)] * 3)


class OverTime(nn.Module):
    """A convolution, spikes, and a linear layer twice a step, over [T, N, C, H, W] in one of several ways."""

    def __init__(self, way: str) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.conv, self.twice, self.out = nn.Conv2d(1, 3, 3, padding=1), nn.Linear(48, 48), nn.Linear(48, 2)
        self.way = way
        for parameter in self.parameters():
            nn.init.normal_(parameter, generator=generator)

    def step(self, x: Tensor) -> Tensor:
        spikes = (self.conv(x) > 0).float().flatten(1)
        return self.out((self.twice((self.twice(spikes) > 0).float()) > 0).float())

    def forward(self, x: Tensor) -> Tensor:
        if self.way == "loop":
            return torch.stack([self.step(now) for now in x])
        return self.step(x.flatten(0, 1)).unflatten(0, x.shape[:2])


def test_how_a_network_runs_its_steps_does_not_matter(generator: torch.Generator) -> None:
    spikes = torch.randint(2, (4, 3, 1, 4, 4), generator=generator).float()
    loop, folded = (count_activity(OverTime(way), spikes) for way in ("loop", "folded"))
    singly = [[count_activity(OverTime("loop"), spikes[t : t + 1, n : n + 1]) for n in range(3)] for t in range(4)]
    for place, (one, other) in enumerate(zip(loop, folded, strict=True)):
        assert torch.equal(one.operations, other.operations)
        assert torch.equal(one.nonzero, other.nonzero)
        assert one.operations.tolist() == [[cell[place].operations.item() for cell in row] for row in singly]


def test_input_that_is_held_is_computed_once(generator: torch.Generator) -> None:
    images = torch.rand(5, 6, generator=generator)
    network = networks.build("dropout", sizes=(6, 40, 3), steps=4, generator=generator)
    first, second = count_activity(network, images)
    assert (first.spiking, second.spiking) == (False, True)
    assert first.operations.tolist() == [[240] * 5, *[[0] * 5] * 3]
    once, every = nn.Linear(6, 3), torch.rand(4, 5, 6, generator=generator)
    held = networks.Linear(6, 3)
    assert count_activity(held, constant_current(images, 4))[0].operations.sum(1).tolist() == [90, 0, 0, 0]
    assert count_activity(once, every)[0].operations.sum(1).tolist() == [90] * 4


def test_packed_spikes_and_blocks_of_inputs(generator: torch.Generator) -> None:
    spikes = torch.randint(2, (7, 5, 20), generator=generator)
    network = networks.build("slayer", shape=(1, 4, 5), classes=3, hidden=(9,), steps=5, generator=generator)
    ternarize(network)
    found = count_activity(network, pack_spikes(spikes))
    assert torch.equal(found[0].operations, 9 * spikes.sum(-1).T)
    used = (network[2].weight != 0).sum(0)
    assert torch.equal(found[0].nonzero, (spikes * used).sum(-1).T)
    for one, other in zip(found, count_activity(network, pack_spikes(spikes), batch_size=3), strict=True):
        assert torch.equal(one.operations, other.operations)
        assert torch.equal(one.nonzero, other.nonzero)


def test_spikes_and_multiplications_of_spikingjelly(generator: torch.Generator) -> None:
    """A network of theirs: its counters add up spike-driven operations, and the dense ones of the first layer."""
    library("spikingjelly")
    from spikingjelly.activation_based import functional, layer, neuron, op_counter

    convolutions = [layer.Conv2d(2, 6, 3, stride=2, padding=1, groups=2, bias=False), neuron.IFNode(v_threshold=0.3)]
    convolutions += [layer.Conv2d(6, 4, 2, padding=1, bias=False), neuron.IFNode(v_threshold=0.2)]
    network = nn.Sequential(*convolutions, layer.Flatten(), layer.Linear(36, 3, bias=False))
    for parameter in network.parameters():
        nn.init.normal_(parameter, generator=generator)
    functional.set_step_mode(network, "m")
    for first in (torch.rand(5, 3, 2, 4, 4, generator=generator), torch.ones(5, 3, 2, 4, 4)):
        theirs, multiplied = op_counter.SynOpCounter(), op_counter.MACCounter()
        functional.reset_net(network)
        with warnings.catch_warnings(), torch.no_grad(), op_counter.DispatchCounterMode([theirs, multiplied]):
            warnings.simplefilter("ignore")
            network(first)
        ours = count_activity(network, first)
        assert sum(int(one.operations.sum()) for one in ours if one.spiking) == theirs.get_total() > 0
        dense = sum(int(one.operations.sum()) for one in ours if not one.spiking)
        assert dense == (0 if ours[0].spiking else multiplied.get_total())


def test_refuses_what_it_cannot_count() -> None:
    with pytest.raises(InputError, match=r"expected an nn\.Linear or nn\.Conv layer"):
        count_activity(nn.ReLU(), torch.ones(1, 2))
    with pytest.raises(InputError, match=r"expected outputs \[T, N, C\] or \[N, C\]"):
        count_activity(nn.Conv2d(1, 1, 1), torch.ones(1, 1, 2, 2))
    with pytest.raises(InputError, match="batch_size: expected a positive whole number"):
        count_activity(nn.Linear(2, 2), torch.ones(1, 2), batch_size=0)

    class Uneven(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(2, 2)

        def forward(self, x: Tensor) -> Tensor:
            return torch.stack([self.fc(x[0]), self.fc(self.fc(x[0]))])

    with pytest.raises(InputError, match="to run as often in each step"):
        count_activity(Uneven(), torch.ones(2, 3, 2))
    with pytest.raises(InputError, match="to run on 1 steps of 2 inputs"):
        count_activity(nn.Sequential(nn.Linear(2, 2), nn.Unflatten(0, (2, 2)), nn.Flatten(1)), torch.ones(4, 2))
