"""Sums of weights over the inputs that are active."""

from tsnn_uq.fast.synapses.linear import linear, linear_of_bits

__all__ = ["linear", "linear_of_bits"]
