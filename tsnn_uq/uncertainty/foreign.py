"""What other libraries' layers need: which are random, and how long they keep a mask."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from tsnn_uq.coding import Coding
from tsnn_uq.seeds import derive_seed, global_seed
from tsnn_uq.uncertainty.masks import StochasticLayer
from tsnn_uq.uncertainty.timing import Timing

__all__ = ["StepByStep", "is_random", "mask_mode"]


def is_random(module: nn.Module) -> bool:
    """Whether `module` itself, apart from its children, draws random numbers while in training mode.

    Our stochastic layers and rate codings, every dropout of ``torch.nn``, and SpikingJelly's dropouts, which
    are no ``torch.nn`` dropouts but are named like them. A probability of zero draws nothing that matters.
    """
    if isinstance(module, Coding):
        return module.stochastic
    dropout = isinstance(module, StochasticLayer | nn.modules.dropout._DropoutNd) or "Drop" in type(module).__name__
    p = getattr(module, "p", 0)
    return dropout and isinstance(p, int | float) and p > 0


def mask_mode(layer: nn.Module) -> str:
    """What a random layer of another library does by itself: SpikingJelly's keep a mask, all others redraw it."""
    return "fixed" if hasattr(layer, "_memories") and getattr(layer, "invariant", True) else "per-step"


class StepByStep:
    """Takes the place of a layer's ``forward``: steps one at a time, with one random draw for all or one for each.

    For a fixed mask each step of a sample draws from the same seed. So it works for any layer that draws from
    torch's global generator, whatever it draws.

    Args:
        layer: the layer.
        timing: how it is called.
        fixed: whether all steps of a sample share a draw.
    """

    def __init__(self, layer: nn.Module, timing: Timing, *, fixed: bool) -> None:
        self.forward: Callable[..., Tensor] = layer.forward
        self.layer, self.timing, self.fixed = layer, timing, fixed
        self.begin(0)

    def begin(self, seed: int) -> None:
        """Start a pass whose draws come from `seed`."""
        self.seed, self.calls = seed, 0

    def __call__(self, inputs: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """What the layer returns for the inputs of a call, in the layout in which they came."""
        seed = derive_seed(self.seed, self.calls % self.timing.places)
        self.calls += 1
        # A step keeps the time axis where there is one, since some layers insist on it.
        steps = inputs.split(1) if self.timing.time_axis else inputs.chunk(self.timing.folded)
        return torch.cat([self._step(step, seed, args, kwargs) for step in steps])

    def _step(self, step: Tensor, seed: int, args: Any, kwargs: Any) -> Tensor:
        memories = vars(self.layer).get("_memories", {})
        memories.update(vars(self.layer).get("_memories_rv", {}))  # SpikingJelly's mask, to be drawn anew
        with global_seed(seed, step.device) if self.fixed else nullcontext():
            return self.forward(step, *args, **kwargs)
