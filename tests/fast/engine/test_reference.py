"""The reference against loops written from the definition, and against the network in double precision."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from tests.helpers.spiking import Case, connected, convolutional, fill, seeded
from tsnn_uq.coding import Coding
from tsnn_uq.engine import Engine
from tsnn_uq.fast.engine.reference import currents, fire
from tsnn_uq.fast.engine.translate import translate
from tsnn_uq.networks import Conv2d, Linear, OverTime
from tsnn_uq.neurons import LIF, LIFParameters

HALF_ULP = 2.0**-24


def pooled(image: list, kind: str, size: int) -> list:
    """Squares of an image [channel][row][column], pooled."""
    combine = max if kind == "max" else lambda values: sum(values) / len(values)
    rows, columns = len(image[0]) // size, len(image[0][0]) // size
    return [
        [
            [
                combine([one[i * size + a][j * size + b] for a in range(size) for b in range(size)])
                for j in range(columns)
            ]
            for i in range(rows)
        ]
        for one in image
    ]


def sums(image: list, weight: list, stride: int, padding: int) -> list:
    """Sums of the weights of active inputs, at each place of a kernel."""
    height, width = len(image[0]), len(image[0][0])
    tall, wide = len(weight[0][0]), len(weight[0][0][0])
    rows, columns = (height + 2 * padding - tall) // stride + 1, (width + 2 * padding - wide) // stride + 1
    result = [[[0.0] * columns for _ in range(rows)] for _ in weight]
    for o, i, j, c, a, b in product(
        range(len(weight)), range(rows), range(columns), range(len(image)), range(tall), range(wide)
    ):
        y, x = i * stride + a - padding, j * stride + b - padding
        if 0 <= y < height and 0 <= x < width and image[c][y][x]:
            result[o][i][j] += image[c][y][x] * weight[o][c][a][b]
    return result


class Neurons:
    """Potentials of one image's neurons."""

    def __init__(self, params: LIFParameters) -> None:
        self.params, self.potential = params, {}

    def step(self, current: list) -> list:
        spikes = [[[0.0] * len(row) for row in one] for one in current]
        for place in product(range(len(current)), range(len(current[0])), range(len(current[0][0]))):
            o, i, j = place
            potential = self.params.decay * self.potential.get(place, 0.0) + current[o][i][j]
            if potential >= self.params.threshold:
                spikes[o][i][j] = 1.0
                potential = potential - self.params.threshold if self.params.reset == "soft" else 0.0
            self.potential[place] = potential
        return spikes


@given(
    reset=st.sampled_from(["soft", "hard"]),
    decay=st.sampled_from([0.5, 0.0, 1.0]),
    threshold=st.sampled_from([1.0, 2.0, 0.5]),
    pool=st.sampled_from(["mean", "max"]),
    stride=st.integers(1, 2),
    padding=st.integers(0, 2),
    seed=st.integers(0, 2**20),
)
@pytest.mark.parametrize("backend", ["compiled", "reference"])
def test_a_tiny_network_is_its_definition(backend, reset, decay, threshold, pool, stride, padding, seed):
    params, steps = LIFParameters(decay, threshold, reset), 4
    pooling = (nn.AvgPool2d if pool == "mean" else nn.MaxPool2d)(2)
    convolution = Conv2d(2, 3, (3, 2), stride, padding, bias=False)
    side = ((7 + 2 * padding - 3) // stride + 1) // 2, ((5 + 2 * padding - 2) // stride + 1) // 2
    linear = Linear(3 * side[0] * side[1], 2, bias=False)
    network = nn.Sequential(
        Coding("rate", steps), convolution, LIF(params), OverTime(pooling), nn.Flatten(2), linear, LIF(params)
    )
    fill(network, "none", seed)
    image = torch.rand(1, 2, 7, 5, generator=seeded(seed))
    inputs = network[0].code(image, (seeded(1),))
    kernel = convolution.weight.tolist()
    matrix = linear.weight.reshape(2, 3, *side).tolist()
    hidden, last, expected = Neurons(params), Neurons(params), []
    for step in inputs[:, 0].tolist():
        spikes = pooled(hidden.step(sums(step, kernel, stride, padding)), pool, 2)
        expected.append([one[0][0] for one in last.step(sums(spikes, matrix, 1, 0))])
    outputs = Engine(network, (2, 7, 5), backend=backend)(image, generator=seeded(1))
    assert outputs[:, 0].tolist() == expected


@dataclass
class Seen:
    """What a layer of the network got and gave, in double precision."""

    spikes: Tensor  # or the coded image, [T, N, ...]
    current: Tensor


@torch.no_grad()
def run_in_double(case: Case) -> list[Seen]:
    network = case.network.double()
    network[0].generators = (seeded(7),)
    values = spikes = network[0](case.images.double())
    layers: list[Seen] = []
    for module in network[1:]:
        values = module(values)
        if isinstance(module, nn.Linear | nn.Conv2d):
            layers.append(Seen(spikes, values))
        elif isinstance(module, OverTime) and isinstance(module.module, nn.BatchNorm1d | nn.BatchNorm2d):
            layers[-1].current = values
        elif isinstance(module, LIF):
            spikes = values
    return layers


@given(connected() | convolutional())
def test_currents_are_those_of_the_network_in_double_precision(case):
    """Scale and bias are rounded to single precision, then the product and the sum: at most four times half an ulp.

    Where weights cancel, the float64 sums are not zero themselves, by 1e-13 at most here.
    """
    layers = translate(case.network, case.shape).layers
    for layer, seen in zip(layers, run_in_double(case), strict=True):
        window = layer.window
        shape = window.channels, window.height, window.width
        maps = seen.spikes.reshape(*seen.spikes.shape[:2], *shape).permute(0, 1, 3, 4, 2)
        found = currents(layer, maps.float()).permute(0, 1, 4, 2, 3).double()
        expected = seen.current.reshape(found.shape)
        bias = layer.bias[: layer.outputs].double().abs().reshape(-1, 1, 1)
        assert ((found - expected).abs() <= 4 * HALF_ULP * (expected.abs() + 2 * bias) + 1e-13).all()


@given(connected() | convolutional())
def test_spikes_are_those_in_double_precision_but_at_the_threshold(case):
    for layer, seen in zip(translate(case.network, case.shape).layers, run_in_double(case), strict=True):
        if layer.neuron is None:
            continue
        decay, threshold = layer.neuron.decay, layer.neuron.threshold
        found = fire(seen.current.float(), layer.neuron, len(seen.current))
        potential, bound = torch.zeros(2, *found.shape[1:], dtype=torch.float64)
        same = torch.ones_like(potential, dtype=torch.bool)  # a neuron that once decided otherwise goes its own way
        for current, fired in zip(seen.current, found.bool(), strict=True):
            potential = decay * potential + current
            bound = decay * bound + 4 * HALF_ULP * (potential.abs() + current.abs() + threshold)
            expected = potential >= threshold
            assert ((fired == expected) | ((potential - threshold).abs() <= bound) | ~same).all()
            same &= fired == expected
            after = potential - threshold if layer.neuron.reset == "soft" else torch.zeros_like(potential)
            potential = torch.where(expected, after, potential)


@pytest.mark.parametrize("active", [1, 2, 33, 1000])
def test_a_float_sum_differs_by_no_more_than_the_engine_states(active):
    network = fill(nn.Sequential(Coding("latency", 1), nn.Flatten(2), Linear(1200, 60, bias=False)), "channel")
    image = (torch.arange(1200) < active).float()[None]
    magnitudes = network[2].weight.detach()[:, :active].abs().sum(1)
    difference = (Engine(network, backend="reference")(image) - network(image)).abs()[0, 0]
    assert (difference <= active * 2.0**-23 * magnitudes).all()


def test_a_current_that_is_held_equals_its_copies():
    current = torch.randn(1, 5, 1, 1, 7, generator=seeded(0))
    assert torch.equal(fire(current, LIFParameters(), 6), fire(current.expand(6, -1, -1, -1, -1), LIFParameters(), 6))


def test_fire_leaves_the_current_alone():
    current = torch.randn(4, 5, 1, 1, 7, generator=seeded(0))
    before = current.clone()
    fire(current, LIFParameters(), 4)
    assert torch.equal(current, before)
