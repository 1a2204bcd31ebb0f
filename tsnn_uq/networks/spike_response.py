"""The SLAYER family of the paper: events of N-MNIST into a fully connected network, 1,188,864 weights."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import nn

from tsnn_uq.checks import InputError, check_positive
from tsnn_uq.coding import Coding
from tsnn_uq.networks.time_layers import Linear
from tsnn_uq.neurons import SRM, SRMParameters
from tsnn_uq.readout import Gain
from tsnn_uq.uncertainty import Dropout

__all__ = ["slayer"]


def slayer(
    shape: Sequence[int] = (2, 34, 34),
    classes: int = 10,
    *,
    hidden: Sequence[int] = (512,),
    steps: int = 300,
    p: float = 0.2,
    mask: str = "fixed",
    coding: str = "events",
    neuron: SRMParameters | None = None,
) -> nn.Sequential:
    """Fully connected network of SRM neurons (Shrestha and Orchard, 2018: the one for N-MNIST, without biases).

    Unlike the original it has dropout after each hidden layer. Initial weights are those of a linear layer times the
    threshold, which is ten times that of a LIF neuron.

    Args:
        shape: polarities, height and width of the events, or of an image.
        classes: number of classes.
        hidden: widths of the hidden layers.
        steps: time steps T.
        p: dropout probability.
        mask: dropout masks ``"fixed"`` over time or redrawn ``"per-step"``.
        coding: ``"events"`` for recordings packed to bits, or how an image is coded; see `tsnn_uq.coding`.
        neuron: the SRM neuron of all layers.

    Returns:
        A network that takes recordings [N, T, bytes] (or images `[N, *shape]`) and returns outputs [T, N, C]. The
        logits, their mean over time, are the numbers of output spikes.

    Raises:
        InputError: a size is not a positive whole number.
    """
    params = neuron or SRMParameters()
    if not hidden:
        raise InputError(f"hidden: expected at least one width; got {list(hidden)}")
    sizes = (math.prod(shape), *hidden, classes)
    for size in sizes:
        check_positive("sizes", size, integer=True)
    layers: list[nn.Module] = []
    for fan_in, fan_out in pairwise(sizes):
        layers += [Linear(fan_in, fan_out, bias=False), SRM(params), Dropout(p, mask)]
    network = nn.Sequential(Coding(coding, steps), nn.Flatten(2), *layers[:-1], Gain(float(steps)))
    with torch.no_grad():
        for weight in network.parameters():
            weight.mul_(params.threshold)
    return network
