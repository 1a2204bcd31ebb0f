"""Network families."""

from tsnn_uq.networks.fully_connected import READOUTS, dropconnect, dropout
from tsnn_uq.networks.layers import Linear
from tsnn_uq.networks.registry import FAMILIES, build

__all__ = ["FAMILIES", "READOUTS", "Linear", "build", "dropconnect", "dropout"]
