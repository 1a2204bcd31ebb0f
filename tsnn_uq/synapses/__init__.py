"""Sums of weights over the inputs that are active."""

from tsnn_uq.synapses.linear import linear

__all__ = ["linear"]
