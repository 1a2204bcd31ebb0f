"""Inference with ternary weights, constant current, T = 20: the engine against float32 matrix products.

And images that stop early in it, against all their steps.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor, nn

from tests.benchmarks.agreement import require_agreement
from tests.benchmarks.peers import peer
from tests.benchmarks.setting import Setting
from tests.benchmarks.timer import OURS, Work
from tsnn_uq.coding import constant_current
from tsnn_uq.engine import Engine
from tsnn_uq.readout import logits, logits_over_time
from tsnn_uq.stopping import RiskControlledExit, Stopped

__all__ = [
    "dense_and_peers",
    "float_models",
    "logits_of",
    "single",
    "stopping",
    "whole_batch",
    "with_compiled",
    "with_dense_products",
]

Result = TypeVar("Result")


def float_models(network: nn.Sequential, images: Tensor) -> dict[str, tuple[nn.Module, Tensor]]:
    """Our own network in float32, snnTorch's and SpikingJelly's, with their inputs."""
    held = constant_current(images.flatten(1), network[0].steps)
    return {
        "tsnn-uq float": (network.eval(), images),
        "snntorch": (peer("snntorch", network, 0.0), held),
        "spikingjelly": (peer("spikingjelly", network, 0.0), held.contiguous()),
    }


def dense_and_peers(network: nn.Sequential, images: Tensor) -> dict[str, Callable[[], Tensor]]:
    """Logits [N, C] from these models, and from our own with dense products."""
    calls = {name: partial(logits_of, *model) for name, model in float_models(network, images).items()}
    return {"tsnn-uq dense": partial(with_dense_products, calls["tsnn-uq float"]), **calls}


def with_compiled(
    calls: Mapping[str, Callable[[], Tensor]], models: Mapping[str, tuple[nn.Module, Tensor]]
) -> dict[str, Callable[[], Tensor]]:
    """The calls, and those of the models that `torch.compile` can do, as ``"... compiled"``."""
    found = dict(calls)
    torch._dynamo.config.recompile_limit = 256  # each layer of a peer counts
    for name, (model, inputs) in models.items():
        call = partial(logits_of, torch.compile(model), inputs)
        try:
            same = torch.allclose(call(), calls[name](), rtol=1e-3, atol=1e-3)
            call()
        except Exception as error:  # a compiler may raise anything
            print(f"  {name} compiled: {type(error).__name__}, left out", flush=True)
            continue
        if same:
            found[f"{name} compiled"] = call
        else:
            print(f"  {name} compiled: other outputs, left out", flush=True)
    return found


def with_dense_products(call: Callable[[], Result]) -> Result:
    """A call with dense products in our layers, which take no multiplications where inputs are spikes."""
    linear = importlib.import_module("tsnn_uq.fast.synapses.linear")  # the package's name for it is the function
    before, linear.MIN_PRODUCTS = linear.MIN_PRODUCTS, sys.maxsize
    try:
        return call()
    finally:
        linear.MIN_PRODUCTS = before


@torch.no_grad()
def logits_of(model: nn.Module, inputs: Tensor) -> Tensor:
    return logits(model(inputs))


def whole_batch(setting: Setting) -> Work:
    """256 images at once."""
    network, images = setting.network(), setting.test_images
    return Work(with_compiled(_checked(network, images), float_models(network, images)))


def single(setting: Setting) -> Work:
    """One image at once; what is checked are 256."""
    network, images = setting.network(), setting.test_images
    _checked(network, images)
    one = images[:1]
    return Work(with_compiled(_calls(network, one), float_models(network, one)), turn_seconds=0.2)


def stopping(setting: Setting, samples: int | None = None) -> Work:
    """256 images, each until its decision differs from that after all steps in 5 % of cases at most, or all steps."""
    engine, images = Engine(setting.network()), setting.test_images

    def all_steps() -> Tensor:
        if samples is None:
            return logits_over_time(engine(images)).softmax(-1)
        generator = torch.Generator().manual_seed(0)
        return engine.mc_predict(images, samples=samples, generator=generator, per_step=True)

    probs = all_steps()
    full = (probs if samples is None else probs.mean(0))[-1].argmax(-1)
    rule = RiskControlledExit(0.05, 0.1, risk="disagreement").fit(probs, full)  # on the images themselves: it is timed

    def until() -> Stopped:
        return engine.run_until(rule, images, generator=torch.Generator().manual_seed(0))

    found, wanted = until(), rule.stop(probs)
    if not all(map(torch.equal, found, wanted)):
        raise SystemExit("run_until: expected to stop where the rule stops all steps; nothing to compare")
    print(f"  {1 - found.steps.double().mean().item() / engine.steps:.0%} of the steps are left out")
    return Work({OURS: until, "tsnn-uq all steps": lambda: rule.stop(all_steps())})


def _calls(network: nn.Sequential, images: Tensor) -> dict[str, Callable[[], Tensor]]:
    return {OURS: partial(Engine(network).logits, images), **dense_and_peers(network, images)}


def _checked(network: nn.Sequential, images: Tensor) -> dict[str, Callable[[], Tensor]]:
    calls = _calls(network, images)
    outputs = {name: call() for name, call in calls.items()}
    require_agreement(outputs.pop(OURS), outputs)
    return calls
