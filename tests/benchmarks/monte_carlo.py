"""Monte Carlo prediction: 32 random draws of the network for each of 256 images, T = 20."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from tests.benchmarks.agreement import require_agreement
from tests.benchmarks.inference import dense_and_peers, with_dense_products
from tests.benchmarks.peers import peer
from tests.benchmarks.setting import DROP, SAMPLES, STEPS, Setting
from tests.benchmarks.timer import OURS, Work
from tsnn_uq.coding import constant_current
from tsnn_uq.engine import Engine
from tsnn_uq.readout import logits
from tsnn_uq.uncertainty import mc_predict

__all__ = ["dense", "engine", "passes"]

ROUNDS = 7  # a round takes the better part of a minute


def passes(network: nn.Module, inputs: Tensor, samples: int = SAMPLES) -> Callable[[], Tensor]:
    """Monte Carlo dropout as it is done elsewhere: so many passes in training mode, [S, N, C] probabilities."""

    @torch.no_grad()
    def predict() -> Tensor:
        network.train()
        return torch.stack([logits(network(inputs)).softmax(-1) for _ in range(samples)])

    return predict


def dense(setting: Setting) -> Work:
    """`mc_predict` against the loops of the peers."""
    network, images = setting.network(), setting.test_images
    outputs = {name: call() for name, call in dense_and_peers(network, images).items()}
    require_agreement(outputs.pop("tsnn-uq dense"), outputs)
    held = constant_current(images.flatten(1), STEPS)
    calls: dict[str, Callable[[], object]] = {OURS: _call(mc_predict, network, images)}
    calls["snntorch"] = passes(peer("snntorch", network, DROP), held)
    calls["spikingjelly"] = passes(peer("spikingjelly", network, DROP), held.contiguous())
    return Work(calls, most_rounds=ROUNDS)


def engine(family: str, setting: Setting) -> Work:
    """The engine against `mc_predict` on the same ternary network; from one seed both draw the same masks."""
    network, images = setting.network(family), setting.test_images
    run = Engine(network)
    few, seed = 2, torch.Generator().manual_seed
    theirs = mc_predict(network, images, samples=few, generator=seed(0))
    ours = run.mc_predict(images, samples=few, generator=seed(0))
    require_agreement(ours.flatten(0, 1), {"tsnn-uq float": theirs.flatten(0, 1)})
    calls = {OURS: _call(Engine.mc_predict, run, images), "tsnn-uq float": _call(mc_predict, network, images)}
    calls["tsnn-uq dense"] = partial(with_dense_products, calls["tsnn-uq float"])
    return Work(calls, most_rounds=ROUNDS)


def _call(predict: Callable[..., Tensor], model: object, images: Tensor) -> Callable[[], Tensor]:
    return partial(predict, model, images, samples=SAMPLES, generator=torch.Generator().manual_seed(0))
