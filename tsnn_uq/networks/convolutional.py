"""The convolutional PLIF family of the paper: two convolutions and two fully connected layers, 13,198,464 weights."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from tsnn_uq.checks import InputError, check_choice, check_positive
from tsnn_uq.coding import Coding
from tsnn_uq.networks.fully_connected import READOUTS, SPIKE_GAIN
from tsnn_uq.networks.layers import Conv2d, Linear, OverTime
from tsnn_uq.neurons import PLIF, LIFParameters
from tsnn_uq.readout import Gain
from tsnn_uq.uncertainty import Dropout

__all__ = ["VOTERS", "plif"]

VOTERS = 10  # neurons of the last layer whose mean speaks for a class


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
    neuron: LIFParameters | None = None,
) -> nn.Sequential:
    """Convolutional network of PLIF neurons (Fang et al., 2021, table 2: the one for MNIST).

    c128k3-BN-PLIF-MP2 twice, then dropout-FC2048-PLIF-dropout-FC100-PLIF and the mean of 10 neurons a class. Without
    biases; masks fixed over time, as in the original.

    Args:
        shape: channels, height and width of an image.
        classes: number of classes.
        hidden: channels of each convolution, then the width of the fully connected layer.
        steps: time steps T.
        p: dropout probability.
        mask: dropout masks ``"fixed"`` over time or redrawn ``"per-step"``.
        coding: ``"constant"``, ``"rate"`` or ``"latency"``; see `tsnn_uq.coding`.
        readout: ``"spikes"`` of the last layer's neurons, as in the original, or the mean ``"current"`` into them.
        neuron: where all layers begin; see `tsnn_uq.neurons.PLIF`.

    Returns:
        A network that takes images [N, *shape] and gives outputs [T, N, C].

    Raises:
        InputError: sizes that are no counts, or an image too small to be halved by every pooling.
    """
    check_choice("readout", readout, READOUTS)
    channels, height, width = _checked(shape, hidden)
    check_positive("classes", classes, integer=True)
    layers: list[nn.Module] = []
    for maps in hidden[:-1]:
        layers += [Conv2d(channels, maps, 3, padding=1, bias=False), OverTime(nn.BatchNorm2d(maps)), PLIF(neuron)]
        layers += [OverTime(nn.MaxPool2d(2))]
        channels, height, width = maps, height // 2, width // 2
    layers += [nn.Flatten(2), Dropout(p, mask), Linear(channels * height * width, hidden[-1], bias=False), PLIF(neuron)]
    layers += [Dropout(p, mask), Linear(hidden[-1], VOTERS * classes, bias=False)]
    vote = OverTime(nn.AvgPool1d(VOTERS))
    tail = [PLIF(neuron), vote, Gain(SPIKE_GAIN)] if readout == "spikes" else [vote]
    return nn.Sequential(Coding(coding, steps), *layers, *tail)


def _checked(shape: Sequence[int], hidden: Sequence[int]) -> tuple[int, int, int]:
    if len(hidden) < 2:
        raise InputError(f"hidden: expected channels of convolutions and then one width; got {list(hidden)}")
    for argument, sizes in (("shape", shape), ("hidden", hidden)):
        for size in sizes:
            check_positive(argument, size, integer=True)
    halvings = len(hidden) - 1
    if len(shape) != 3 or min(shape[1:]) < 2**halvings:
        wanted = f"channels, height and width of images that can be halved {halvings} times"
        raise InputError(f"shape: expected {wanted}; got {list(shape)}")
    return shape[0], shape[1], shape[2]
