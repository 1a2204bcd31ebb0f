"""From a graph of NIR, whichever library wrote it, to a network of our layers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from torch import nn

from tsnn_uq.checks import InputError, check_positive, last_line
from tsnn_uq.coding import Coding
from tsnn_uq.exchange.discretization import DT
from tsnn_uq.exchange.load_layers import LAYERS
from tsnn_uq.exchange.load_neurons import NEURONS
from tsnn_uq.exchange.node_chain import node_chain
from tsnn_uq.readout import Gain

if TYPE_CHECKING:
    import nir

__all__ = ["coding_of", "from_nir"]

READERS: dict[str, Callable[[Any, float], nn.Module]] = {**LAYERS, **NEURONS}


def from_nir(graph: nir.NIRGraph, *, dt: float | None = None) -> nn.Sequential:
    """Build the network that a graph describes, of our own layers and neurons.

    It takes currents [T, N, ...] and gives outputs [T, N, C], always from rest. Its layers have the names of the nodes
    (with ``_`` for ``.``), and weights keep their values, so that ternary ones stay ternary. For images put a
    `tsnn_uq.coding.Coding` before it: ``nn.Sequential(Coding("constant", steps=8), from_nir(graph))``.

    Neurons are discretized by Euler steps, as by Norse, snnTorch and SpikingJelly; their gain goes into the threshold,
    as a potential reset to zero may be measured in any unit. Neurons of a layer have to be alike. NIR has no
    surrogate gradients: graphs not by `to_nir` get the default one, sharp in units of NIR's potential.

    Args:
        graph: a chain of nodes, also with nested graphs, of: Input, Output, Linear, Affine, Conv1d, Conv2d, Flatten,
            SumPool2d, AvgPool2d, IF, LIF, CubaLIF, I, LI, CubaLI.
        dt: time step in seconds; by default the one that the graph's metadata name, or 0.0001.

    Returns:
        The network, in torch's default dtype.

    Raises:
        InputError: names the node that has no counterpart here, or that makes the graph more than a chain.
    """
    nodes = node_chain(graph)
    metadata = _metadata(graph)
    step = float(metadata.get("dt", DT)) if dt is None else dt
    check_positive("dt", step)
    layers: dict[str, nn.Module] = {}
    for name, node in nodes:
        layer = _layer(name, node, step)
        if layer is not None:
            layers[_free_name(name, layers)] = layer
    if "readout_gain" in metadata:
        layers[_free_name("readout", layers)] = Gain(float(metadata["readout_gain"]))
    network = nn.Sequential()
    for name, layer in layers.items():
        network.add_module(name, layer)
    return network


def coding_of(graph: nir.NIRGraph, steps: int | None = None) -> Coding:
    """The coding of images that a graph of `to_nir` names in its metadata, to be put before `from_nir`.

    Args:
        graph: a graph of any library; one that names no coding takes constant currents, as long as `steps` are given.
        steps: time steps; by default those of the coding that the graph names.

    Raises:
        InputError: neither the graph nor the caller says how many steps there are.
    """
    metadata = _metadata(graph)
    if steps is None:
        if "steps" not in metadata:
            raise InputError("steps: expected the number of time steps, since the graph names none; got None")
        steps = int(metadata["steps"])
    return Coding(str(metadata.get("coding", "constant")), steps, float(metadata.get("coding_gain", 1.0)))


def _metadata(graph: Any) -> Mapping[str, Any]:
    return graph.metadata if isinstance(graph.metadata, Mapping) else {}


def _layer(name: str, node: Any, dt: float) -> nn.Module | None:
    kind = type(node).__name__
    if kind in ("Input", "Output"):
        return None
    if kind not in READERS:
        hint = " (its exporter left this layer out)" if node is None else ""
        raise InputError(f"graph: expected nodes among {', '.join(READERS)}; got {kind} ({name!r}){hint}")
    try:
        return READERS[kind](node, dt)
    except (ValueError, TypeError, RuntimeError, IndexError) as error:  # torch's own and ours
        raise InputError(f"graph: {kind} ({name!r}): {last_line(error)}") from error


def _free_name(name: str, taken: Mapping[str, nn.Module]) -> str:
    """A name that a module of a Sequential can have."""
    free = name.replace(".", "_") or "node"
    while free in taken or hasattr(nn.Sequential, free):
        free += "_"
    return free
