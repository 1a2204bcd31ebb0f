"""Network families."""

from tsnn_uq.networks.convolutional import plif, vgg
from tsnn_uq.networks.fully_connected import READOUTS, dropconnect, dropout
from tsnn_uq.networks.registry import FAMILIES, build, drawn_from
from tsnn_uq.networks.spike_response import slayer
from tsnn_uq.networks.time_layers import Conv2d, Linear, OverTime, flat_layers

__all__ = [
    "FAMILIES",
    "READOUTS",
    "Conv2d",
    "Linear",
    "OverTime",
    "build",
    "drawn_from",
    "dropconnect",
    "dropout",
    "flat_layers",
    "plif",
    "slayer",
    "vgg",
]
