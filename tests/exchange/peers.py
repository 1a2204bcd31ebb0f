"""Networks to exchange with Norse, snnTorch and SpikingJelly, and how each of these runs a graph of NIR."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from typing import Any

import torch
from torch import Tensor, nn

from tests.helpers.peers import library
from tsnn_uq.networks import Conv2d, Linear, OverTime
from tsnn_uq.neurons import LI, LIF, PLIF, LIFParameters
from tsnn_uq.quantization import freeze, ternarize
from tsnn_uq.state import rest

STEPS, INPUTS = 12, 32
TIES = "Linear of weights -1, 0 and 1, LIF exactly at the threshold"
VECTOR, IMAGE, SERIES = (24,), (2, 8, 8), (2, 12)


@contextmanager
def quiet() -> Iterator[None]:
    """Without the warnings and prints of other libraries."""
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        yield


def hard(decay: float = 0.5) -> LIFParameters:
    return LIFParameters(decay=decay, reset="hard")


def fully_connected(decay: float) -> list[nn.Module]:
    layers = [Linear(24, 40, bias=False), LIF(hard(decay)), Linear(40, 40, bias=False), LIF(hard(decay))]
    return [*layers, Linear(40, 10), LIF(hard(decay))]


def convolutional(neurons: Callable[[], nn.Module], pool: nn.Module, **options: Any) -> list[nn.Module]:
    """Convolutions with BatchNorm whose statistics are not those it begins with, pooling, a fully connected layer."""
    layers: list[nn.Module] = []
    for channels in (2, 8):
        norm = nn.BatchNorm2d(8)
        nn.init.uniform_(norm.running_mean, -0.2, 0.2)
        nn.init.uniform_(norm.running_var, 0.1, 0.5)
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        layers += [Conv2d(channels, 8, 3, bias=False, **options), OverTime(norm), neurons()]
        options.pop("groups", None)
    return [*layers, OverTime(pool), nn.Flatten(2), Linear(8 * 4 * 4, 10, bias=False), neurons()]


def series() -> list[nn.Module]:
    convolution = OverTime(nn.Conv1d(2, 6, 3, stride=2, padding=1, dilation=1))
    return [convolution, LIF(hard()), nn.Flatten(2), Linear(36, 10), LIF(hard())]


OURS: dict[str, tuple[Callable[[], list[nn.Module]], tuple[int, ...]]] = {
    "Linear, Affine, LIF": (lambda: fully_connected(0.5), VECTOR),
    "Linear, Affine, LIF of decay 0.7": (lambda: fully_connected(0.7), VECTOR),
    "Linear, Affine, IF": (lambda: fully_connected(1.0), VECTOR),
    "Linear, CubaLIF": (lambda: [Linear(24, 20, bias=False), LI(0.6, 0.5), LIF(hard(0.8))], VECTOR),
    "Conv2d with BatchNorm, LIF, AvgPool2d, Flatten": (
        lambda: convolutional(lambda: LIF(hard()), nn.AvgPool2d(2), padding=1),
        IMAGE,
    ),
    "Conv2d with BatchNorm, PLIF, SumPool2d, Flatten": (
        lambda: convolutional(PLIF, nn.AvgPool2d(2, divisor_override=1), padding="same"),
        IMAGE,
    ),
    "Conv2d in groups, LIF, AvgPool2d, Flatten": (
        lambda: convolutional(lambda: LIF(hard()), nn.AvgPool2d(2), padding=1, groups=2),
        IMAGE,
    ),
    "Conv1d, LIF, Flatten": (series, SERIES),
    "Linear, LI": (lambda: [Linear(24, 10, bias=False), LI(0.9, 0.1)], VECTOR),
    TIES: (lambda: fully_connected(0.5)[:4], VECTOR),
}
"""Our networks by the nodes that they become, and the shape of an input."""


def ours(nodes: str, dtype: torch.dtype = torch.float64) -> tuple[nn.Sequential, Tensor]:
    """One of our networks, its weights ternary, in evaluation mode, and currents [T, N, ...] for it."""
    make, shape = OURS[nodes]
    with seeded():
        network = nn.Sequential(*make()).eval()
        with torch.no_grad():
            for layer in network.modules():
                if isinstance(layer, nn.Linear | nn.Conv1d | nn.Conv2d):
                    layer.weight.mul_(3)
        currents = torch.rand(STEPS, INPUTS, *shape)
    if nodes == TIES:
        currents = (2 * currents).round() / 2
    ternarize(network, scale="none" if nodes == TIES else "channel")
    freeze(network)
    return network.to(dtype), currents.to(dtype)


@contextmanager
def seeded() -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


@torch.no_grad()
def our_spikes(network: nn.Sequential, currents: Tensor) -> list[Tensor]:
    """Outputs over time of each layer of neurons, without those of synapses."""
    outputs, layers = [], list(network)
    for layer, following in zip(layers, [*layers[1:], None], strict=True):
        currents = layer(currents)
        if isinstance(layer, LIF | PLIF) or (isinstance(layer, LI) and following is None):
            outputs.append(currents)
    return outputs


@torch.no_grad()
def their_spikes(read: str, graph: Any, currents: Tensor) -> list[Tensor]:
    """The same of a graph in another library, step by step."""
    with quiet():
        module, explicit = READERS[read](graph, currents.dtype)
        neurons = [name for name, node in graph.nodes.items() if type(node).__name__ in ("IF", "LIF", "CubaLIF", "LI")]
        seen: list[list[Tensor]] = [[] for _ in neurons]
        for name, outputs in zip(neurons, seen, strict=True):

            def see(module: nn.Module, given: Any, output: Any, outputs: list[Tensor] = outputs) -> None:
                outputs.append(output[0] if isinstance(output, tuple) else output)

            module.get_submodule(name).register_forward_hook(see)
        if explicit:
            over_time(module, currents)
        else:
            rest(module)
            for current in currents:
                module(current)
    return [torch.stack(outputs) for outputs in seen]


@torch.no_grad()
def their_outputs(read: str, graph: Any, currents: Tensor) -> Tensor:
    """Outputs [T, N, C] of a graph in another library."""
    with quiet():
        module, explicit = READERS[read](graph, currents.dtype)
        if explicit:
            return over_time(module, currents)
        rest(module)
        outputs = [module(current) for current in currents]
    return torch.stack([output[0] if isinstance(output, tuple) else output for output in outputs])


def over_time(module: nn.Module, currents: Tensor) -> Tensor:
    """Outputs of all steps of a module that takes and gives its state."""
    state, outputs = None, []
    for current in currents:
        output, state = module(current, state)
        outputs.append(output)
    return torch.stack(outputs)


def norse_reads(graph: Any, dtype: torch.dtype) -> tuple[nn.Module, bool]:
    return library("norse.torch").from_nir(graph, dt=1e-4, ignore_warnings=True).to(dtype), True


def snntorch_reads(graph: Any, dtype: torch.dtype) -> tuple[nn.Module, bool]:
    library("snntorch")
    from snntorch.import_nir import import_from_nir

    return import_from_nir(graph).to(dtype), False  # its neurons keep their state themselves


def spikingjelly_reads(graph: Any, dtype: torch.dtype) -> tuple[nn.Module, bool]:
    library("spikingjelly")
    from spikingjelly.activation_based.nir_exchange import import_from_nir

    return import_from_nir(graph, dtype=dtype), True


READERS: dict[str, Callable[[Any, torch.dtype], tuple[nn.Module, bool]]] = {
    "Norse": norse_reads,
    "snnTorch": snntorch_reads,
    "SpikingJelly": spikingjelly_reads,
}
"""What each library makes of a graph, and whether that takes and gives its state."""

PRECISION = {"Norse": torch.float64, "snnTorch": torch.float32, "SpikingJelly": torch.float64}
"""snnTorch's spikes are float32 whatever its inputs are."""

NOT_READ: dict[tuple[str, str], str] = {
    ("Norse", "Conv2d with BatchNorm, LIF, AvgPool2d, Flatten"): "leaves AvgPool2d out, without a word",
    ("Norse", "Conv2d in groups, LIF, AvgPool2d, Flatten"): "refuses groups",
    ("Norse", "Conv1d, LIF, Flatten"): "leaves Conv1d out, without a word",
    ("Norse", "Linear, LI"): "leaves LI out, without a word",
    ("snnTorch", "Linear, Affine, IF"): "refuses r other than 1, and leaks at r = 1",
    ("snnTorch", "Conv2d in groups, LIF, AvgPool2d, Flatten"): "refuses groups",
    ("snnTorch", "Linear, LI"): "refuses LI",
    ("SpikingJelly", "Conv2d in groups, LIF, AvgPool2d, Flatten"): "refuses groups",
    ("SpikingJelly", "Linear, LI"): "refuses LI",
}
"""What a library cannot read, and what it does instead."""
