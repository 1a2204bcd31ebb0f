"""What other libraries' layers need: which of them are random, and how their hidden state is put to rest."""

from __future__ import annotations

from torch import nn

from tsnn_uq.coding import Coding
from tsnn_uq.uncertainty.masks import StochasticLayer

__all__ = ["is_random", "rest"]


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


def rest(model: nn.Module) -> None:
    """Put every spiking layer of snnTorch and SpikingJelly to rest; found by walking the modules.

    Norse passes its state in and out and needs nothing. SpikingJelly's dropout keeps its mask until a reset,
    so this also makes it draw anew.
    """
    for module in model.modules():
        # SpikingJelly's MemoryModule and snnTorch's neurons
        for state, method in (("_memories", "reset"), ("mem", "reset_mem")):
            reset = getattr(module, method, None)
            if hasattr(module, state) and callable(reset):
                reset()
