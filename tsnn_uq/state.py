"""What a network keeps from one call to the next: how it is cleared, and how a network is copied without it."""

from __future__ import annotations

import copy
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

__all__ = ["Stateful", "copy_at_rest", "evaluation_mode", "is_instance_of", "is_library_neuron", "rest"]

Network = TypeVar("Network", bound=nn.Module)


class Stateful(nn.Module):
    """A layer of ours that keeps something from call to call, until `reset`."""

    def reset(self) -> None:
        """Forget what was kept."""
        raise NotImplementedError


LIBRARIES = (
    ("snntorch", "SpikingNeuron", "reset_mem"),
    ("spikingjelly.activation_based.base", "MemoryModule", "reset"),
)
"""For each library, the base class of what keeps state, and the method that clears it."""


def is_instance_of(module: nn.Module, library: str, name: str) -> bool:
    """Whether `module` is an instance of a library's class, without importing the library.

    Args:
        module: any module.
        library: the library's module that has the class, such as ``"snntorch"``.
        name: the class.

    Example:
        >>> is_instance_of(nn.Linear(1, 1), "snntorch", "Leaky")
        False
    """
    found = getattr(sys.modules.get(library), name, None)
    return isinstance(found, type) and isinstance(module, found)


def is_library_neuron(module: nn.Module) -> bool:
    """Whether a module is a neuron of snnTorch or SpikingJelly."""
    spikingjelly = "spikingjelly.activation_based.neuron.base_node"
    return is_instance_of(module, "snntorch", "SpikingNeuron") or is_instance_of(module, spikingjelly, "BaseNode")


def rest(model: nn.Module) -> None:
    """Put a network to rest: clear what its layers kept from earlier calls, wherever they are in it.

    These are the neurons, dropouts and other stateful modules of snnTorch and SpikingJelly, and the masks that
    `tsnn_uq.uncertainty.make_stochastic` keeps. Norse's neurons get their state from outside and need nothing. Only a
    module's class counts: another one that happens to have a method ``reset`` is left alone.
    """
    for module in model.modules():
        if isinstance(module, Stateful):
            module.reset()
        for library, name, method in LIBRARIES:
            if is_instance_of(module, library, name) and hasattr(
                module, method
            ):  # snnTorch's parallel neurons have none
                getattr(module, method)()


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Context of evaluation mode without gradients, which starts and ends at rest.

    Afterwards each module has its own mode again. Whoever runs several batches calls `rest` before each.
    """
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    rest(model)
    try:
        with torch.no_grad():
            yield
    finally:
        rest(model)
        for module, mode in modes:
            module.training = mode


def copy_at_rest(model: Network, put: Mapping[int, nn.Module] | None = None) -> Network:
    """A deep copy of a network, at rest; the original keeps its state.

    A tensor that is part of a graph, as a neuron's potential is after a training step, is copied without it.

    Args:
        model: any module.
        put: modules to put in the place of others, by the others' ``id``.
    """
    with _DetachedCopies():
        copied = copy.deepcopy(model, dict(put or {}))
    rest(copied)
    return copied


class _DetachedCopies(TorchFunctionMode):
    """Context in which a deep copy of a tensor with a graph is one without; torch refuses to copy it otherwise."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is Tensor.__deepcopy__ and not args[0].is_leaf:
            tensor, memo = args
            return memo.setdefault(id(tensor), tensor.detach().clone())
        return func(*args, **(kwargs or {}))
