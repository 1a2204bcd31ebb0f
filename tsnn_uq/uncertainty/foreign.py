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
    return dropout and getattr(module, "p", 0) > 0


def rest(model: nn.Module) -> None:
    """Put every spiking layer of snnTorch and SpikingJelly to rest; found by walking the modules.

    Norse passes its state in and out and needs nothing. SpikingJelly's dropout keeps its mask until a reset,
    so this also makes it draw anew.
    """
    for module in model.modules():
        if hasattr(module, "_memories") and hasattr(module, "reset"):  # SpikingJelly's MemoryModule
            module.reset()
        for name in ("reset_mem", "init_rleaky", "init_synaptic"):  # snnTorch: one name for most neurons
            if hasattr(module, name) and hasattr(module, "mem"):
                getattr(module, name)()
                break
