"""Hooks that receive the membrane potentials of the forward pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, cast

from torch import Tensor, nn

from tsnn_uq.checks import InputError

__all__ = ["PotentialHook", "WatchedNeuron", "watch_potentials"]

PotentialHook = Callable[[Tensor], object]


class WatchedNeuron(nn.Module):
    """A layer of neurons whose membrane potentials can be watched.

    Attributes:
        watch: called in each forward pass with the potentials [T, N, ...]; None switches it off at no cost.
    """

    watch: PotentialHook | None = None


@contextmanager
def watch_potentials(model: nn.Module, see: PotentialHook) -> Iterator[None]:
    """Context in which `see` is called with the membrane potentials of each layer of LIF, PLIF and SRM neurons.

    Its argument is h / theta - 1, the distance of the potential h before the reset from the threshold, in units of the
    threshold; a neuron fires if it is 0 or more. Gradients flow through it as in `tsnn_uq.neurons.lif_step`, and for
    SRM neurons only through the response to the input.

    Args:
        model: any module.
        see: called with [T, N, ...] for each layer, in the order of the forward pass.

    Raises:
        InputError: `model` has no such layers.

    Example:
        >>> import torch
        >>> from tsnn_uq.neurons import LIF, watch_potentials
        >>> with watch_potentials(layer := LIF(), lambda distance: print(distance.flatten())):
        ...     spikes = layer(torch.tensor([[0.8], [0.8]]))
        tensor([-0.2000,  0.2000])
    """
    layers = [module for module in model.modules() if isinstance(module, WatchedNeuron)]
    if not layers:
        remedy = "convert networks of other libraries with tsnn_uq.exchange.from_nir"
        raise InputError(f"model: expected LIF, PLIF or SRM neurons of tsnn_uq; got none ({remedy})")
    try:
        for layer in layers:
            layer.watch = partial(_report_potentials, see, cast(Any, layer).params.threshold)
        yield
    finally:
        for layer in layers:
            layer.watch = None


def _report_potentials(see: PotentialHook, threshold: float, potentials: Tensor) -> None:
    see(potentials / threshold - 1)
