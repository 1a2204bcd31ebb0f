"""Training steps of the convolutional PLIF network, against the library of the authors of its neuron."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from itertools import repeat

import torch
from torch import Tensor, nn

from tests.benchmarks.agreement import require_agreement
from tests.benchmarks.peers import library
from tests.benchmarks.setting import Setting
from tests.benchmarks.timer import OURS, Work
from tests.benchmarks.training import TERNARY, training_step
from tsnn_uq import networks
from tsnn_uq.networks import OverTime
from tsnn_uq.neurons import PLIF
from tsnn_uq.quantization import ternarize
from tsnn_uq.readout import Gain
from tsnn_uq.uncertainty import Dropout, set_generator

__all__ = ["SpikingJellyPLIF", "awake", "plif_steps"]

PLIF_STEPS, PLIF_BATCH = 4, 32
AWAKE = 6.0  # times their initial weights, the fully connected layers fire about as often as trained ones


class SpikingJellyPLIF(nn.Module):
    """The network as its authors write it, with the weights of one of ours.

    The image is convolved and normalized once, as in their code ("static_conv"); then all steps at once, layer by
    layer (step mode "m").
    """

    def __init__(self, network: nn.Sequential) -> None:
        super().__init__()
        coding, convolution, norm, *rest = network
        functional = library("spikingjelly.activation_based.functional")
        self.steps, self.reset = coding.steps, functional.reset_net
        self.static = nn.Sequential(*_translated([convolution, norm]))
        self.layers = nn.Sequential(*_translated(rest))
        functional.set_step_mode(self.layers, "m")

    def forward(self, images: Tensor) -> Tensor:
        """Outputs [T, N, C] of `images` [N, 1, H, W]."""
        self.reset(self.layers)
        return self.layers(self.static(images).unsqueeze(0).repeat(self.steps, 1, 1, 1, 1))


def _translated(modules: list[nn.Module]) -> Iterator[nn.Module]:
    layer, neuron, surrogate = (
        library(f"spikingjelly.activation_based.{name}") for name in ("layer", "neuron", "surrogate")
    )
    for module in modules:
        inner = module.module if isinstance(module, OverTime) else module
        match inner:
            case nn.Conv2d():
                sizes = inner.in_channels, inner.out_channels, inner.kernel_size
                theirs = layer.Conv2d(*sizes, padding=inner.padding, bias=False)
            case nn.Linear():
                theirs = layer.Linear(inner.in_features, inner.out_features, bias=False)
            case nn.BatchNorm2d():
                theirs = layer.BatchNorm2d(inner.num_features)
            case PLIF():
                gradient, given = surrogate.ATan(inner.params.surrogate.alpha), inner.params
                theirs = neuron.ParametricLIFNode(
                    init_tau=inner.tau, v_reset=0.0, surrogate_function=gradient, detach_reset=given.detach_reset
                )
            case nn.MaxPool2d():
                theirs = layer.MaxPool2d(inner.kernel_size)
            case nn.AvgPool1d():
                theirs = layer.VotingLayer(inner.kernel_size[0])
            case nn.Flatten():
                theirs = layer.Flatten()
            case Dropout():
                theirs = layer.Dropout(inner.p)
            case Gain():
                theirs = deepcopy(inner)
        if hasattr(inner, "weight"):
            theirs.load_state_dict(inner.state_dict())
        yield theirs


def awake(network: nn.Sequential) -> nn.Sequential:
    """The untrained network, whose last layers would not fire at all, with larger weights."""
    for module in network.modules():
        if isinstance(module, nn.Linear):
            module.weight.data *= AWAKE
    return network


def plif_steps(setting: Setting) -> Work:
    """Two convolutions and two fully connected layers, 13 million weights that are not trained yet."""
    splits = setting.splits.train
    images, labels = splits.images[:PLIF_BATCH], splits.labels[:PLIF_BATCH]
    network = awake(networks.build("plif", steps=PLIF_STEPS, generator=torch.Generator().manual_seed(0)))
    ternary = deepcopy(network)
    ternarize(ternary, factor=0.8)
    contenders = {OURS: network, TERNARY: ternary, "spikingjelly": SpikingJellyPLIF(network)}
    with torch.no_grad():
        outputs = {name: contenders[name].eval()(images) for name in (OURS, "spikingjelly")}
    require_agreement(outputs.pop(OURS), outputs)
    for each in (network, ternary):
        set_generator(each, torch.Generator().manual_seed(0))
    return Work({name: training_step(each, repeat((images, labels))) for name, each in contenders.items()})
