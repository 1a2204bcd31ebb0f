"""The benchmarks' network in other libraries, as their users write it, with the weights of one of ours.

All take input over time [T, N, pixels] and give outputs [T, N, C]: no biases, LIF neurons with decay 0.5, threshold
1, soft reset and the arctan surrogate with alpha 2, dropout after each hidden layer. Where one cannot be had just so:

- snnTorch's own soft reset (``reset_delay=False``) resets a neuron again whose potential is above the threshold even
  after a reset: with constant current no output was the same as ours. So the loop subtracts the threshold itself,
  from ``reset_mechanism="none"``, which costs as much or a little less and leaves the reset out of the gradient.
- Norse has no arctan surrogate; it takes its own, SuperSpike, which costs as much. Its neuron adds half of the input,
  so with half the threshold its potential is half of ours, and its spikes are the same.
- Dropout masks are fixed over time in SpikingJelly, as in ours, and new at each step in the other two.
"""

from __future__ import annotations

import importlib
import logging
import warnings
from collections.abc import Callable, Sequence
from itertools import pairwise
from types import ModuleType

import torch
from torch import Tensor, nn

__all__ = ["PEERS", "floor", "peer"]


def library(name: str) -> ModuleType:
    """Import a module of a peer without what its import warns of."""
    logging.getLogger("torch._library.triton").setLevel(logging.ERROR)  # a peer's import looks for a GPU compiler
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return importlib.import_module(name)


class SnnTorch(nn.Module):
    """A Python loop over time steps, the state handed from step to step."""

    def __init__(self, sizes: Sequence[int], p: float) -> None:
        super().__init__()
        snntorch = library("snntorch")
        surrogate = snntorch.surrogate.atan(alpha=2.0)
        self.linear = nn.ModuleList(nn.Linear(a, b, bias=False) for a, b in pairwise(sizes))
        self.leaky = nn.ModuleList(
            snntorch.Leaky(beta=0.5, threshold=1.0, spike_grad=surrogate, reset_mechanism="none") for _ in sizes[1:-1]
        )
        self.dropout = nn.Dropout(p)

    def forward(self, inputs: Tensor) -> Tensor:
        """Outputs [T, N, C] of `inputs` [T, N, pixels]."""
        potentials = [leaky.reset_mem() for leaky in self.leaky]
        outputs = []
        for spikes in inputs:
            for i, leaky in enumerate(self.leaky):
                spikes, charged = leaky(self.linear[i](spikes), potentials[i])
                potentials[i] = charged - spikes.detach()
                spikes = self.dropout(spikes)
            outputs.append(self.linear[-1](spikes))
        return torch.stack(outputs)


class SpikingJelly(nn.Module):
    """All steps at once, layer by layer (step mode "m"), in the backend that the library chooses."""

    def __init__(self, sizes: Sequence[int], p: float) -> None:
        super().__init__()
        layer, neuron, surrogate, functional = (
            library(f"spikingjelly.activation_based.{name}") for name in ("layer", "neuron", "surrogate", "functional")
        )
        layers: list[nn.Module] = []
        for fan_in, fan_out in pairwise(sizes[:-1]):
            lif = neuron.LIFNode(
                tau=2.0, decay_input=False, v_reset=None, surrogate_function=surrogate.ATan(2.0), detach_reset=True
            )
            layers += [layer.Linear(fan_in, fan_out, bias=False), lif, layer.Dropout(p)]
        self.layers = nn.Sequential(*layers, layer.Linear(*sizes[-2:], bias=False))
        functional.set_step_mode(self.layers, "m")
        self.reset = functional.reset_net

    def forward(self, inputs: Tensor) -> Tensor:
        """Outputs [T, N, C] of `inputs` [T, N, pixels]."""
        self.reset(self.layers)
        return self.layers(inputs)


class Norse(nn.Module):
    """A Python loop over time steps around a `SequentialState`."""

    def __init__(self, sizes: Sequence[int], p: float) -> None:
        super().__init__()
        norse, reset = library("norse.torch"), library("norse.torch.functional.reset").reset_subtract
        layers: list[nn.Module] = []
        for fan_in, fan_out in pairwise(sizes[:-1]):
            parameters = norse.LIFBoxParameters(
                tau_mem_inv=torch.tensor(500.0),  # times the step of 0.001: half of the potential leaks
                v_th=torch.tensor(0.5),
                alpha=torch.tensor(2.0),
                reset_method=reset,
            )
            layers += [nn.Linear(fan_in, fan_out, bias=False), norse.LIFBoxCell(parameters), nn.Dropout(p)]
        self.layers = norse.SequentialState(*layers, nn.Linear(*sizes[-2:], bias=False))

    def forward(self, inputs: Tensor) -> Tensor:
        """Outputs [T, N, C] of `inputs` [T, N, pixels]."""
        state, outputs = None, []
        for step in inputs:
            output, state = self.layers(step, state)
            outputs.append(output)
        return torch.stack(outputs)


PEERS: dict[str, Callable[[Sequence[int], float], nn.Module]] = {
    "snntorch": SnnTorch,
    "spikingjelly": SpikingJelly,
    "norse": Norse,
}


def peer(name: str, network: nn.Module, p: float) -> nn.Module:
    """The network of another library with the sizes and weights of `network`, in evaluation mode."""
    weights = [module.weight.detach() for module in network.modules() if isinstance(module, nn.Linear)]
    theirs = PEERS[name]([weights[0].shape[1], *map(len, weights)], p)
    for parameter, weight in zip(theirs.parameters(), weights, strict=True):
        parameter.data.copy_(weight)
    return theirs.eval()


def floor(sizes: Sequence[int], batch: int, steps: int, held: bool) -> Callable[[], None]:
    """The matrix products that a training step cannot do without, into memory that is there already; nothing else.

    One product over all steps for each layer, and two backward, but for the first layer, whose input needs no
    gradient. Where the input is `held` over time the first layer's products are of one step.
    """
    generator = torch.Generator().manual_seed(0)
    layers = []
    for i, (fan_in, fan_out) in enumerate(pairwise(sizes)):
        rows = batch if held and i == 0 else steps * batch
        shapes = (rows, fan_in), (fan_out, fan_in), (rows, fan_out)
        inputs, weight, grad_outputs = (torch.rand(shape, generator=generator) for shape in shapes)
        results = torch.empty_like(grad_outputs), torch.empty_like(weight), torch.empty_like(inputs)
        layers.append((inputs, weight, grad_outputs, *results))

    def products() -> None:
        for inputs, weight, _, outputs, _, _ in layers:
            torch.mm(inputs, weight.t(), out=outputs)
        for i, (inputs, weight, grad_outputs, _, grad_weight, grad_inputs) in reversed(list(enumerate(layers))):
            torch.mm(grad_outputs.t(), inputs, out=grad_weight)
            if i:
                torch.mm(grad_outputs, weight, out=grad_inputs)

    return products
