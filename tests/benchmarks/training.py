"""Training steps: forward, cross-entropy of the mean output, backward, fused AdamW."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import deepcopy
from itertools import count, cycle, repeat

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from tests.benchmarks.agreement import require_agreement
from tests.benchmarks.peers import PEERS, floor, peer
from tests.benchmarks.setting import BATCH, DROP, MAIN_STEPS, STEPS, Setting
from tests.benchmarks.timer import OURS, Work
from tsnn_uq.coding import constant_current
from tsnn_uq.quantization import ternarize
from tsnn_uq.readout import logits
from tsnn_uq.training import DEFAULT_REGULARIZER, forward_batch, make_regularizer
from tsnn_uq.uncertainty import set_generator

__all__ = [
    "TERNARY",
    "constant_steps",
    "contender",
    "epoch",
    "regularized_steps",
    "spike_steps",
    "training_step",
]

TERNARY = "tsnn-uq ternary"
EPOCH_STEPS = 8
TERMS = (DEFAULT_REGULARIZER, "consistency:1", "variance:5", "outliers:0.5", "variance-right:5+outliers:0.5")


def contender(name: str, network: nn.Sequential) -> nn.Module:
    """What trains under a name: `network` after its coding, the same with ternary weights, or a peer's copy."""
    if name in PEERS:
        return peer(name, network, DROP)
    layers = deepcopy(network[1:])
    set_generator(layers, torch.Generator().manual_seed(0))
    if name == TERNARY:
        ternarize(layers, factor=0.8)
    return layers


def training_step(network: nn.Module, batches: Iterator[tuple[Tensor, Tensor]]) -> Callable[[], None]:
    """A step of training on the next of `batches`, pairs of input [T, N, pixels] and labels [N]."""
    optimizer = _optimizer(network)

    def step() -> None:
        inputs, labels = next(batches)
        optimizer.zero_grad()
        cross_entropy(logits(network(inputs)), labels).backward()
        optimizer.step()

    return step


def spike_steps(setting: Setting) -> Work:
    """Input coded as spikes, drawn beforehand: every layer sees another input at each step."""
    return _steps(setting, setting.spikes(), held=False)


def constant_steps(setting: Setting) -> Work:
    """The same image at each step."""
    return _steps(setting, constant_current(setting.batch[0], STEPS), held=True)


def _steps(setting: Setting, inputs: Tensor, held: bool) -> Work:
    network, labels = setting.network(), setting.batch[1]
    networks = {name: contender(name, network) for name in (OURS, TERNARY, *PEERS)}
    given = {name: _input(name, inputs) for name in networks}
    _require_same(networks, given)
    calls = {name: training_step(each, repeat((given[name], labels))) for name, each in networks.items()}
    sizes = [inputs.shape[-1], *(len(weight) for weight in network.parameters())]
    return Work({**calls, "matmul floor": floor(sizes, BATCH, STEPS, held)})


def epoch(setting: Setting) -> Work:
    """An epoch on MNIST, constant current, T = 8; timed by its single steps, each on another batch."""
    network, train = setting.network(steps=EPOCH_STEPS), setting.splits.train
    networks = {name: contender(name, network) for name in (OURS, "snntorch")}
    images = train.images.flatten(1).split(BATCH)
    batches = [(constant_current(x, EPOCH_STEPS), y) for x, y in zip(images, train.labels.split(BATCH), strict=True)]
    _require_same(networks, dict.fromkeys(networks, batches[0][0]))
    calls = {name: training_step(each, cycle(batches)) for name, each in networks.items()}
    return Work(calls, scale=len(batches))


def regularized_steps(setting: Setting) -> Work:
    """A direct step of the main job with uncertainty terms; ours is the one without."""
    network = setting.network(steps=MAIN_STEPS)
    images, labels = setting.splits.train.images[:BATCH], setting.splits.train.labels[:BATCH]
    calls = {text: _regularized_step(network, text, images, labels) for text in TERMS}
    return Work({OURS: _regularized_step(network, "none", images, labels), **calls})


def _regularized_step(network: nn.Sequential, text: str, images: Tensor, labels: Tensor) -> Callable[[], None]:
    model, regularizer = deepcopy(network), make_regularizer(text)
    ternarize(model, factor=0.8)
    set_generator(model, *[torch.Generator().manual_seed(0)] * regularizer.passes)
    optimizer, steps = _optimizer(model), count()

    def step() -> None:
        optimizer.zero_grad()
        forward = forward_batch(model, images, labels, regularizer, seed=0, step=next(steps))
        loss = cross_entropy(forward.all_logits, forward.of_all(labels)) + regularizer.term(forward)
        loss.backward()
        optimizer.step()

    return step


def _optimizer(network: nn.Module) -> torch.optim.Optimizer:
    """For a network that it sets to training.

    The rate is small, so that the firing rates are after hundreds of steps what they were before the first.
    """
    return torch.optim.AdamW(network.train().parameters(), lr=1e-5, fused=True)


def _input(name: str, inputs: Tensor) -> Tensor:
    """The input as a library wants it: SpikingJelly's layers take all steps, so held ones are laid out beforehand."""
    return inputs.contiguous() if name == "spikingjelly" else inputs


@torch.no_grad()
def _require_same(networks: dict[str, nn.Module], inputs: dict[str, Tensor]) -> None:
    """Dropout off."""
    outputs = {name: network.eval()(inputs[name]) for name, network in networks.items()}
    require_agreement(outputs.pop(OURS), outputs)
