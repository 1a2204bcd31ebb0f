"""Spiking networks with random ternary weights, drawn by Hypothesis, for the engine.

Sizes lie beside multiples of the words and vectors of the kernels; weights are integers times scales, and inputs are
integers, so that sums are exact whatever their order.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from hypothesis import strategies as st
from torch import Generator, Tensor, nn

from tsnn_uq.coding import Coding
from tsnn_uq.networks import Conv2d, Linear, OverTime
from tsnn_uq.neurons import LIF, LIFParameters
from tsnn_uq.readout import Gain
from tsnn_uq.uncertainty import DropConnectLinear, Dropout

__all__ = ["Case", "connected", "convolutional", "fill", "seeded", "ternary_"]

SCALES = ("none", "layer", "channel", "power of two")
SIZES = [33, 10, 64, 1, 31, 32, 65, 257, 300]


@dataclass(frozen=True)
class Case:
    """A network and images for it; `shape` is what the engine needs to know of them."""

    network: nn.Sequential
    images: Tensor
    shape: tuple[int, int, int] | None = None


def seeded(seed: int) -> Generator:
    return torch.Generator().manual_seed(seed)


@torch.no_grad()
def ternary_(layer: nn.Module, scale: str, generator: Generator) -> None:
    """Give a layer random weights of -1, 0, +1 times a scale; the first output has zeros only."""
    codes = torch.randint(-1, 2, layer.weight.shape, generator=generator).float()
    codes[0] = 0
    count = len(codes) if scale == "channel" else 1
    factor = {"none": torch.ones(1), "power of two": torch.full((1,), 0.25)}.get(scale)
    if factor is None:
        factor = torch.rand(count, generator=generator) + 0.1
    layer.weight.copy_(codes * factor.reshape(-1, *[1] * (codes.dim() - 1)))


@torch.no_grad()
def fill(network: nn.Module, scale: str = "layer", seed: int = 0) -> nn.Module:
    """Ternary weights, biases of eighths, and BatchNorm that has seen something."""
    generator = seeded(seed)
    for module in network.modules():
        if isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d):
            ternary_(module, scale, generator)
            if module.bias is not None:
                module.bias.copy_(torch.randint(-4, 5, module.bias.shape, generator=generator) / 8)
        elif isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.running_mean.normal_(generator=generator)
            module.running_var.uniform_(0.2, 3, generator=generator)
            if module.affine:
                module.weight.normal_(generator=generator)
                module.bias.normal_(generator=generator)
    return network.eval()


@st.composite
def neurons(draw: st.DrawFn) -> LIFParameters:
    """Neurons that leak all, nothing or something, and fire always or hardly ever."""
    decay = draw(st.sampled_from([0.5, 0.9, 0.3, 1.0, 0.0]))
    return LIFParameters(decay, draw(st.sampled_from([1.0, 0.1, 2.5, 1e-3])), draw(st.sampled_from(["soft", "hard"])))


@st.composite
def coded(draw: st.DrawFn, shape: tuple[int, ...]) -> tuple[Coding, Tensor]:
    """Images [N, *shape] and their coding: integers or spikes that are held, and spikes or integers at each step."""
    steps, count = draw(st.sampled_from([3, 1, 5])), draw(st.sampled_from([2, 1, 4]))
    generator = seeded(draw(st.integers(0, 2**20)))
    kind = draw(st.sampled_from(["constant", "latency", "rate"]))
    coding = Coding(kind, steps, gain=draw(st.sampled_from([1.0, 3.0])))
    density = draw(st.sampled_from([0.5, 0.05, 1.0, 0.0]))
    active = torch.rand(count, *shape, generator=generator) < density
    if kind == "constant":
        low = draw(st.sampled_from([-3, 1]))
        values = torch.randint(low, draw(st.sampled_from([2, 5])), active.shape, generator=generator).float()
    else:
        values = torch.randint(1, 5, active.shape, generator=generator) / 4
    return coding, values * active


@st.composite
def tails(draw: st.DrawFn, features: int) -> list[nn.Module]:
    """Linear layers behind `features` spikes or pixels, and a read-out."""
    bias = draw(st.booleans())
    hidden = draw(st.lists(st.sampled_from(SIZES), max_size=2))
    sizes = [features, *hidden, draw(st.sampled_from([10, 1, 2, 33, 257]))]
    p = draw(st.sampled_from([0.0, 0.5]))
    layers: list[nn.Module] = []
    for fan_in, fan_out in pairwise(sizes):
        dropconnect = draw(st.booleans())
        layers.append(DropConnectLinear(fan_in, fan_out, bias, p=0.5) if dropconnect else Linear(fan_in, fan_out, bias))
        if draw(st.booleans()):
            layers.append(OverTime(nn.BatchNorm1d(fan_out, affine=draw(st.booleans()))))
        layers += [LIF(draw(neurons())), Dropout(p, draw(st.sampled_from(["fixed", "per-step"])))]
    layers.pop()
    if draw(st.booleans()):
        return layers[:-1]
    return [*layers, Gain(10.0)] if draw(st.booleans()) else layers


@st.composite
def connected(draw: st.DrawFn) -> Case:
    """A fully connected network."""
    features = draw(st.sampled_from([33, 70, 7, 1]))
    coding, images = draw(coded((features,)))
    network = nn.Sequential(coding, nn.Flatten(2), *draw(tails(features)))
    fill(network, draw(st.sampled_from(SCALES)), draw(st.integers(0, 2**20)))
    return Case(network, images)


@st.composite
def convolutional(draw: st.DrawFn) -> Case:
    """Convolutions with strides, padding and pooling, and what comes behind them."""
    shape = draw(st.sampled_from([1, 3, 33])), draw(st.integers(3, 7)), draw(st.integers(3, 7))
    coding, images = draw(coded(shape))
    layers: list[nn.Module] = []
    channels, height, width = shape
    for _ in range(draw(st.integers(1, 2))):
        kernel = draw(st.integers(1, min(3, height))), draw(st.integers(1, min(3, width)))
        stride, padding = draw(st.integers(1, 2)), draw(st.integers(0, 2))
        outputs = draw(st.sampled_from([1, 5, 32, 40]))
        layers.append(Conv2d(channels, outputs, kernel, stride, padding, bias=draw(st.booleans())))
        if draw(st.booleans()):
            layers.append(OverTime(nn.BatchNorm2d(outputs)))
        mask = draw(st.sampled_from(["fixed", "per-step"]))
        layers += [LIF(draw(neurons())), Dropout(0.5 * draw(st.booleans()), mask)]
        channels = outputs
        height = (height + 2 * padding - kernel[0]) // stride + 1
        width = (width + 2 * padding - kernel[1]) // stride + 1
        pool = draw(st.integers(1, min(3, height, width)))
        if pool > 1:
            layers.append(OverTime(draw(st.sampled_from([nn.AvgPool2d, nn.MaxPool2d]))(pool)))
            height, width = height // pool, width // pool
    network = nn.Sequential(coding, *layers, nn.Flatten(2), *draw(tails(channels * height * width)))
    fill(network, draw(st.sampled_from(SCALES)), draw(st.integers(0, 2**20)))
    return Case(network, images, shape)
