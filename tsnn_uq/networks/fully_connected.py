"""The two fully connected LIF families of the paper: 784-500-500-500-10, no biases, 897,000 weights."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from torch import nn

from tsnn_uq.checks import InputError, check_choice, check_positive
from tsnn_uq.coding import Coding
from tsnn_uq.networks.time_layers import Linear
from tsnn_uq.neurons import LIF, LIFParameters
from tsnn_uq.readout import Gain
from tsnn_uq.uncertainty import DropConnectLinear, Dropout

__all__ = ["READOUTS", "dropconnect", "dropout"]

READOUTS = ("current", "spikes")
SPIKE_GAIN = 10.0  # one class that always spikes, among silent ones, has softmax 0.9996


def dropout(
    sizes: Sequence[int] | None = None,
    *,
    shape: Sequence[int] = (1, 28, 28),
    classes: int = 10,
    hidden: Sequence[int] = (500, 500, 500),
    steps: int = 8,
    p: float = 0.2,
    mask: str = "fixed",
    coding: str = "constant",
    readout: str = "current",
    neuron: LIFParameters | None = None,
) -> nn.Sequential:
    """Fully connected LIF network with dropout after each hidden layer.

    Args:
        sizes: pixels, hidden widths and classes; replaces `shape`, `classes` and `hidden`.
        shape: shape of an input.
        classes: number of classes.
        hidden: widths of the hidden layers.
        steps: time steps T.
        p: dropout probability.
        mask: dropout masks ``"fixed"`` over time or redrawn ``"per-step"``.
        coding: ``"constant"``, ``"rate"`` or ``"latency"``; see `tsnn_uq.coding`.
        readout: ``"current"``, the mean current into the last layer, or ``"spikes"``, its spike count.
        neuron: the LIF neuron of all layers.

    Returns:
        A network that takes images [N, ...] of ``sizes[0]`` pixels and returns outputs [T, N, C].
    """
    sizes = _widths(sizes, shape, classes, hidden)
    layers: list[nn.Module] = []
    for fan_in, fan_out in pairwise(sizes[:-1]):
        layers += [Linear(fan_in, fan_out, bias=False), LIF(neuron), Dropout(p, mask)]
    layers.append(Linear(sizes[-2], sizes[-1], bias=False))
    return _assemble(layers, steps, coding, readout, neuron)


def dropconnect(
    sizes: Sequence[int] | None = None,
    *,
    shape: Sequence[int] = (1, 28, 28),
    classes: int = 10,
    hidden: Sequence[int] = (500, 500, 500),
    steps: int = 8,
    p: float = 0.2,
    mask: str = "fixed",
    coding: str = "constant",
    readout: str = "current",
    neuron: LIFParameters | None = None,
) -> nn.Sequential:
    """Fully connected LIF network with dropconnect: weights are dropped at random.

    Args:
        sizes: pixels, hidden widths and classes; replaces `shape`, `classes` and `hidden`.
        shape: shape of an input.
        classes: number of classes.
        hidden: widths of the hidden layers.
        steps: time steps T.
        p: probability of dropping a weight.
        mask: weight masks ``"fixed"`` over time or redrawn ``"per-step"``.
        coding: ``"constant"``, ``"rate"`` or ``"latency"``; see `tsnn_uq.coding`.
        readout: ``"current"`` or ``"spikes"``.
        neuron: the LIF neuron of all layers.
    """
    sizes = _widths(sizes, shape, classes, hidden)
    layers: list[nn.Module] = []
    for fan_in, fan_out in pairwise(sizes):
        layers += [DropConnectLinear(fan_in, fan_out, p=p, mask=mask), LIF(neuron)]
    return _assemble(layers[:-1], steps, coding, readout, neuron)


def _widths(sizes: Sequence[int] | None, shape: Sequence[int], classes: int, hidden: Sequence[int]) -> tuple[int, ...]:
    widths = (math.prod(shape), *hidden, classes) if sizes is None else tuple(sizes)
    if len(widths) < 2:
        raise InputError(f"sizes: expected at least the numbers of pixels and classes; got {list(widths)}")
    for size in widths:
        check_positive("sizes" if sizes is not None else "hidden", size, integer=True)
    return widths


def _assemble(
    layers: list[nn.Module], steps: int, coding: str, readout: str, neuron: LIFParameters | None
) -> nn.Sequential:
    check_choice("readout", readout, READOUTS)
    tail = [LIF(neuron), Gain(SPIKE_GAIN)] if readout == "spikes" else []
    return nn.Sequential(Coding(coding, steps), nn.Flatten(2), *layers, *tail)
