"""Load a network from a NIR graph, written by any library."""

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
    """Build a network of our layers and neurons from a NIR graph.

    The network maps currents [T, N, ...] to outputs [T, N, C] and begins each call at rest. Layers have the names of
    the nodes (with ``_`` for ``.``). Weights keep their values, so ternary weights stay ternary. For images, put a
    `tsnn_uq.coding.Coding` before the network: ``nn.Sequential(Coding("constant", steps=8), from_nir(graph))``.

    Neurons are discretized by Euler steps, as in Norse, snnTorch and SpikingJelly. Their gain is folded into the
    threshold, which is equivalent for a reset to zero. All neurons of a layer must have the same parameters. NIR has no
    surrogate gradients: graphs that were not written by `to_nir` get the default one, with the slope scaled to the unit
    of NIR's potential.

    Args:
        graph: a chain of the nodes Input, Output, Linear, Affine, Conv1d, Conv2d, Flatten, SumPool2d, AvgPool2d, IF,
            LIF, CubaLIF, I, LI, CubaLI, or of nested graphs of them.
        dt: time step in seconds; by default the ``dt`` of the graph's metadata, or 0.0001.

    Returns:
        The network, in torch's default dtype.

    Raises:
        InputError: a node has no counterpart here, or the graph is not a chain; the message names the node.
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
    """Read the input coding from the metadata of a graph written by `to_nir`, for use before `from_nir`.

    Args:
        graph: a graph of any library. Without a coding in its metadata, the coding is constant and needs `steps`.
        steps: number of time steps; by default that of the metadata.

    Returns:
        The coding.

    Raises:
        InputError: the number of steps is neither given nor in the metadata.
    """
    metadata = _metadata(graph)
    if steps is None:
        if "steps" not in metadata:
            raise InputError("steps: expected the number of time steps, which the graph does not have; got None")
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
    """Make a name that is valid and free for a module of a Sequential."""
    free = name.replace(".", "_") or "node"
    while free in taken or hasattr(nn.Sequential, free):
        free += "_"
    return free
