"""The hidden state that networks of any library keep between calls: reset it, or copy a network without it."""

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
    """Base class of our layers that keep state between calls, until `reset`."""

    def reset(self) -> None:
        """Clear the state."""
        raise NotImplementedError


LIBRARIES = (
    ("snntorch", "SpikingNeuron", "reset_mem"),
    ("spikingjelly.activation_based.base", "MemoryModule", "reset"),
)
"""For each library, the base class of stateful modules and the method that resets them."""


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
    """Reset the hidden state of all modules of a network, including nested ones.

    These are the stateful modules of snnTorch and SpikingJelly, such as neurons and dropout, and the masks of
    `tsnn_uq.uncertainty.make_stochastic`. Norse's neurons receive their state as an argument and need no reset. Modules
    are recognized by their class; other modules with a method ``reset`` are not reset.
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
    """Context of evaluation mode without gradients; the state is reset at its start and end.

    The mode of each module is restored. To run several batches, call `rest` before each.
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
    """A deep copy of a network with its state reset; the original keeps its state.

    A tensor with a graph, such as a neuron's potential after a training step, is copied without the graph.

    Args:
        model: any module.
        put: replacements of modules, by the ``id`` of the original.
    """
    with _DetachedCopies():
        copied = copy.deepcopy(model, dict(put or {}))
    rest(copied)
    return copied


class _DetachedCopies(TorchFunctionMode):
    """Context in which tensors with a graph are deep-copied without it; torch raises an error otherwise."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is Tensor.__deepcopy__ and not args[0].is_leaf:
            tensor, memo = args
            return memo.setdefault(id(tensor), tensor.detach().clone())
        return func(*args, **(kwargs or {}))
