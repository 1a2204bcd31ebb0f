"""Small networks with dropout of other libraries, as their users write them."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn

STEPS = 5


def library(name: str) -> ModuleType:
    """Import a peer, or skip the test."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # norse compiles with torch.jit, which torch deprecates
        return pytest.importorskip(name, reason=f"{name} is not installed")


def snntorch_hidden(p: float) -> nn.Module:
    """State inside the neurons (init_hidden), one of them nested; [N, 4] in, logits [N, 3] out."""
    snn = library("snntorch")

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.hidden = nn.Sequential(nn.Linear(4, 16), snn.Leaky(beta=0.9, init_hidden=True), nn.Dropout(p))
            self.out = nn.Linear(16, 3)

        def forward(self, x: Tensor) -> Tensor:
            return torch.stack([self.out(self.hidden(4 * x)) for _ in range(STEPS)])

    return Net()


def snntorch_loop(p: float) -> nn.Module:
    """State handed from step to step; gives spikes and potentials, so that a readout has to choose."""
    snn = library("snntorch")

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc1, self.lif1, self.drop = nn.Linear(4, 16), snn.Leaky(beta=0.9), nn.Dropout(p)
            self.fc2, self.lif2 = nn.Linear(16, 3), snn.Synaptic(alpha=0.5, beta=0.9)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            mem1 = self.lif1.reset_mem()
            syn2, mem2 = self.lif2.reset_mem()
            spikes, potentials = [], []
            for _ in range(STEPS):
                spike1, mem1 = self.lif1(self.fc1(4 * x), mem1)
                spike2, syn2, mem2 = self.lif2(self.fc2(self.drop(spike1)), syn2, mem2)
                spikes.append(spike2)
                potentials.append(mem2)
            return torch.stack(spikes), torch.stack(potentials)

    return Net()


def spikingjelly_multi_step(p: float) -> nn.Module:
    """All steps at once: [T, N, 4] in, [T, N, 3] out."""
    library("spikingjelly")
    from spikingjelly.activation_based import functional, layer, neuron

    network = nn.Sequential(
        layer.Linear(4, 16), neuron.LIFNode(decay_input=False), layer.Dropout(p), layer.Linear(16, 3)
    )
    functional.set_step_mode(network, "m")
    return network


def spikingjelly_single_step(p: float) -> nn.Module:
    """The loop over time in the forward, state in the neurons; [N, 4] in."""
    library("spikingjelly")
    from spikingjelly.activation_based import layer, neuron

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.Sequential(
                layer.Linear(4, 16), neuron.LIFNode(decay_input=False), layer.Dropout(p), layer.Linear(16, 3)
            )

        def forward(self, x: Tensor) -> Tensor:
            return torch.stack([self.layers(4 * x) for _ in range(STEPS)])

    return Net()


def norse_lifted(p: float) -> nn.Module:
    """State goes in and out; gives (outputs, state). [T, N, 4] in."""
    norse = library("norse.torch")
    neuron = norse.LIFBoxCell(norse.LIFBoxParameters(tau_mem_inv=torch.tensor(500.0)))
    return norse.SequentialState(*map(norse.Lift, (nn.Linear(4, 16), neuron, nn.Dropout(p), nn.Linear(16, 3))))


def norse_loop(p: float) -> nn.Module:
    """The loop over time in the forward, state handed from step to step; [N, 4] in."""
    norse = library("norse.torch")

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc1, self.drop, self.fc2 = nn.Linear(4, 16), nn.Dropout(p), nn.Linear(16, 3)
            self.neuron = norse.LIFBoxCell(norse.LIFBoxParameters(tau_mem_inv=torch.tensor(500.0)))

        def forward(self, x: Tensor) -> Tensor:
            state, outputs = None, []
            for _ in range(STEPS):
                spikes, state = self.neuron(self.fc1(4 * x), state)
                outputs.append(self.fc2(self.drop(spikes)))
            return torch.stack(outputs)

    return Net()


def spikingjelly_folded(p: float) -> nn.Module:
    """Layers of torch that see all steps folded into the batch; [T, N, 4] in, [T, N, 3] out."""
    library("spikingjelly")
    from spikingjelly.activation_based import layer, neuron

    return nn.Sequential(
        layer.SeqToANNContainer(nn.Linear(4, 16)),
        neuron.LIFNode(decay_input=False, step_mode="m"),
        layer.SeqToANNContainer(nn.Dropout(p), nn.Linear(16, 3)),
    )


def first(outputs: Any) -> Tensor:
    """The outputs of a network that returns a tuple."""
    return outputs[0]


PEERS: dict[str, tuple[Callable[[float], nn.Module], dict[str, Any]]] = {
    "snntorch hidden": (snntorch_hidden, {}),
    "snntorch loop": (snntorch_loop, {"output": lambda outputs: outputs[1]}),
    "spikingjelly multi": (spikingjelly_multi_step, {"batch_dim": 1}),
    "spikingjelly single": (spikingjelly_single_step, {}),
    "spikingjelly folded": (spikingjelly_folded, {"batch_dim": 1}),
    "norse": (norse_lifted, {"batch_dim": 1, "output": first}),
    "norse loop": (norse_loop, {}),
}


def peer(name: str, p: float) -> tuple[nn.Module, Tensor, dict[str, Any]]:
    """A network of another library, inputs for it (6 of them) and what `mc_predict` has to be told."""
    make, told = PEERS[name]
    options = dict(told)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = make(p)
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.mul_(2)
        inputs = torch.rand(6, 4)
    if options.get("batch_dim") == 1:
        inputs = 4 * inputs.expand(STEPS, 6, 4)
    return network, inputs, options
