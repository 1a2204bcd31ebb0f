"""The convolutional families: the paper's network of PLIF neurons, and a small VGG of LIF neurons for CIFAR-10."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from torch import nn

from tsnn_uq.checks import InputError, check_choice, check_positive
from tsnn_uq.coding import Coding
from tsnn_uq.networks.fully_connected import READOUTS, SPIKE_GAIN
from tsnn_uq.networks.time_layers import Conv2d, Linear, OverTime
from tsnn_uq.neurons import LIF, PLIF, LIFParameters
from tsnn_uq.readout import Gain
from tsnn_uq.uncertainty import Dropout

__all__ = ["POOLINGS", "VOTERS", "plif", "vgg"]

VOTERS = 10  # neurons of the last layer that are averaged for each class
POOLINGS = {"max": nn.MaxPool2d, "average": nn.AvgPool2d}


def plif(
    shape: Sequence[int] = (1, 28, 28),
    classes: int = 10,
    *,
    hidden: Sequence[int] = (128, 128, 2048),
    steps: int = 4,
    p: float = 0.5,
    mask: str = "fixed",
    coding: str = "constant",
    readout: str = "spikes",
    pooling: Literal["average"] | None = None,
    neuron: LIFParameters | None = None,
) -> nn.Sequential:
    """Convolutional network of PLIF neurons (Fang et al., 2021, table 2: the one for MNIST), 13,198,464 weights.

    c128k3-BN-PLIF-MP2 twice, then dropout-FC2048-PLIF-dropout-FC100-PLIF and the mean of 10 neurons per class.
    There are no biases, and masks are fixed over time, as in the original.

    Args:
        shape: channels, height and width of an image.
        classes: number of classes.
        hidden: channels of each convolution, then the width of the fully connected layer.
        steps: time steps T.
        p: dropout probability.
        mask: dropout masks ``"fixed"`` over time or redrawn ``"per-step"``.
        coding: ``"constant"``, ``"rate"`` or ``"latency"``; see `tsnn_uq.coding`.
        readout: ``"spikes"`` of the last layer's neurons, as in the original, or the mean ``"current"`` into them.
        pooling: ``"max"``, as in the original, or ``"average"``, which can be exported to other libraries
            (`tsnn_uq.exchange`).
        neuron: initial parameters of all layers; see `tsnn_uq.neurons.PLIF`.

    Returns:
        A network that takes images `[N, *shape]` and gives outputs [T, N, C].

    Raises:
        InputError: a size is not a positive whole number, or the image is too small for the poolings.
    """
    check_choice("readout", readout, READOUTS)
    if pooling is not None:
        check_choice("pooling", pooling, ("average",))
    channels, height, width = _checked(shape, hidden, len(hidden) - 1)
    check_positive("classes", classes, integer=True)
    layers: list[nn.Module] = []
    for maps in hidden[:-1]:
        layers += [Conv2d(channels, maps, 3, padding=1, bias=False), OverTime(nn.BatchNorm2d(maps)), PLIF(neuron)]
        layers.append(OverTime(POOLINGS[pooling or "max"](2)))
        channels, height, width = maps, height // 2, width // 2
    layers += [nn.Flatten(2), Dropout(p, mask), Linear(channels * height * width, hidden[-1], bias=False), PLIF(neuron)]
    layers += [Dropout(p, mask), Linear(hidden[-1], VOTERS * classes, bias=False)]
    vote = OverTime(nn.AvgPool1d(VOTERS))
    tail = [PLIF(neuron), vote, Gain(SPIKE_GAIN)] if readout == "spikes" else [vote]
    return nn.Sequential(Coding(coding, steps), *layers, *tail)


def vgg(
    shape: Sequence[int] = (3, 32, 32),
    classes: int = 10,
    *,
    hidden: Sequence[int] = (32, 64, 64, 128, 128, 256),
    steps: int = 2,
    p: float = 0.2,
    mask: str = "fixed",
    coding: str = "constant",
    pooling: str = "max",
    readout: str = "current",
    neuron: LIFParameters | None = None,
) -> nn.Sequential:
    """Convolutional network of LIF neurons in the style of VGG (Simonyan and Zisserman, 2015), 804,192 weights.

    Convolutions of 3 x 3, BatchNorm and LIF, with pooling after every second convolution and after the last; then
    dropout, a fully connected layer with BatchNorm and LIF, dropout and the classes. There are no biases. Only the
    layers after the first dropout are random, so further Monte Carlo samples cost little.

    Args:
        shape: channels, height and width of an image.
        classes: number of classes.
        hidden: channels of each convolution, then the width of the fully connected layer.
        steps: time steps T.
        p: dropout probability.
        mask: dropout masks ``"fixed"`` over time or redrawn ``"per-step"``.
        coding: ``"constant"``, ``"rate"`` or ``"latency"``; see `tsnn_uq.coding`.
        pooling: ``"max"`` or ``"average"``.
        readout: ``"current"``, the mean current into the last layer, or ``"spikes"``, its spike count.
        neuron: the LIF neuron of all layers.

    Returns:
        A network that takes images `[N, *shape]` and gives outputs [T, N, C].

    Raises:
        InputError: a size is not a positive whole number, or the image is too small for the poolings.
    """
    check_choice("readout", readout, READOUTS)
    pool = POOLINGS[check_choice("pooling", pooling, POOLINGS)]
    channels, height, width = _checked(shape, hidden, len(hidden) // 2)
    check_positive("classes", classes, integer=True)
    layers: list[nn.Module] = []
    for number, maps in enumerate(hidden[:-1], start=1):
        layers += [Conv2d(channels, maps, 3, padding=1, bias=False), OverTime(nn.BatchNorm2d(maps)), LIF(neuron)]
        channels = maps
        if number % 2 == 0 or number == len(hidden) - 1:
            layers.append(OverTime(pool(2)))
            height, width = height // 2, width // 2
    layers += [nn.Flatten(2), Dropout(p, mask), Linear(channels * height * width, hidden[-1], bias=False)]
    layers += [OverTime(nn.BatchNorm1d(hidden[-1])), LIF(neuron), Dropout(p, mask)]
    layers += [Linear(hidden[-1], classes, bias=False)]
    tail = [LIF(neuron), Gain(SPIKE_GAIN)] if readout == "spikes" else []
    return nn.Sequential(Coding(coding, steps), *layers, *tail)


def _checked(shape: Sequence[int], hidden: Sequence[int], halvings: int) -> tuple[int, int, int]:
    """Channels, height and width of an image, checked to be large enough for the poolings."""
    if len(hidden) < 2:
        raise InputError(f"hidden: expected channels of convolutions and then one width; got {list(hidden)}")
    for argument, sizes in (("shape", shape), ("hidden", hidden)):
        for size in sizes:
            check_positive(argument, size, integer=True)
    if len(shape) != 3 or min(shape[1:]) < 2**halvings:
        wanted = f"channels, height and width of images that can be halved {halvings} times"
        raise InputError(f"shape: expected {wanted}; got {list(shape)}")
    return shape[0], shape[1], shape[2]
