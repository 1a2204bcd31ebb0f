"""The convolutional networks, training and ternary inference, against SpikingJelly, whose authors' neuron PLIF is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import deepcopy
from functools import partial
from itertools import repeat

import torch
from torch import Tensor, nn

from tests.benchmarks.agreement import require_agreement
from tests.benchmarks.inference import logits_of, with_compiled
from tests.benchmarks.peers import library
from tests.benchmarks.setting import Setting
from tests.benchmarks.timer import OURS, Work
from tests.benchmarks.training import TERNARY, training_step
from tsnn_uq import networks
from tsnn_uq.engine import Engine
from tsnn_uq.networks import OverTime
from tsnn_uq.neurons import LIF, PLIF
from tsnn_uq.quantization import freeze, ternarize
from tsnn_uq.readout import Gain
from tsnn_uq.uncertainty import Dropout, set_generator

__all__ = ["SpikingJellyTwin", "awake", "fire_as", "plif_steps", "ternary_inference"]

PLIF_STEPS, PLIF_BATCH = 4, 32
AWAKE = 6.0  # times their initial weights, the fully connected layers fire about as often as trained ones
# Shares of neurons and steps with a spike, layer by layer, to which the networks of inference are set. Those of the
# second are of a direct ternary network trained on CIFAR-10.
RATES = {"plif": (0.15, 0.1, 0.1, 0.1), "vgg": (0.272, 0.044, 0.149, 0.042, 0.033, 0.127)}
SHAPES = {"plif": (1, 28, 28), "vgg": (3, 32, 32)}


class SpikingJellyTwin(nn.Module):
    """A convolutional network as it is written in SpikingJelly, with the weights of one of ours.

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
            case nn.BatchNorm1d():
                theirs = layer.BatchNorm1d(inner.num_features)
            case LIF():
                gradient, given = surrogate.ATan(inner.params.surrogate.alpha), inner.params
                tau, soft = 1 / (1 - given.decay), given.reset == "soft"
                theirs = neuron.LIFNode(
                    tau, False, v_reset=None if soft else 0.0, surrogate_function=gradient, detach_reset=True
                )
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
    contenders = {OURS: network, TERNARY: ternary, "spikingjelly": SpikingJellyTwin(network)}
    with torch.no_grad():
        outputs = {name: contenders[name].eval()(images) for name in (OURS, "spikingjelly")}
    require_agreement(outputs.pop(OURS), outputs)
    for each in (network, ternary):
        set_generator(each, torch.Generator().manual_seed(0))
    return Work({name: training_step(each, repeat((images, labels))) for name, each in contenders.items()})


def ternary_inference(family: str, batch: int, setting: Setting) -> Work:
    """The engine against the same ternary network in float32: ours, SpikingJelly's, and both by `torch.compile`.

    The weights are random, the neurons fire as often as `RATES` says.
    """
    images = torch.rand(32, *SHAPES[family], generator=torch.Generator().manual_seed(1))
    network = networks.build(family, generator=torch.Generator().manual_seed(0))
    ternarize(network, factor=0.8)
    freeze(network)
    fire_as(network.eval(), images, RATES[family])
    engine = Engine(network, SHAPES[family])
    twins = {"tsnn-uq float": network, "spikingjelly": SpikingJellyTwin(network).eval()}
    require_agreement(engine.logits(images), {name: logits_of(each, images) for name, each in twins.items()})
    some = images[:batch]
    models = {name: (each, some) for name, each in twins.items()}
    calls = {name: partial(logits_of, *model) for name, model in models.items()}
    return Work({OURS: partial(engine.logits, some), **with_compiled(calls, models)}, turn_seconds=0.2)


@torch.no_grad()
def fire_as(network: nn.Sequential, images: Tensor, rates: Sequence[float]) -> None:
    """Set how often the neurons of each layer fire: by the bias of the BatchNorm before them, else by the weights."""
    inputs = network[0](images)
    waiting, first = list(rates), 1
    for place, module in enumerate(network):
        if not isinstance(module, LIF | PLIF):
            continue
        part = network[first : place + 1]
        norm = next((m for m in part.modules() if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d)), None)
        weight = next(m.weight for m in part.modules() if isinstance(m, nn.Linear | nn.Conv2d))
        if norm is not None:
            norm.train().momentum = 1.0
            part(inputs)
            norm.eval()
        given, (low, high) = weight.clone(), (-4.0, 4.0)
        rate = waiting.pop(0) if waiting else rates[-1]
        for _ in range(12):
            middle = (low + high) / 2
            if norm is not None:
                norm.bias.fill_(middle)
            else:
                weight.copy_(given * 10**middle)
            low, high = (middle, high) if part(inputs).mean() < rate else (low, middle)
        inputs, first = part(inputs), place + 1
