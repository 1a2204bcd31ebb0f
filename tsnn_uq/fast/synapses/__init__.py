"""Linear layers that sum the weights of active inputs only."""

from tsnn_uq.fast.synapses.linear import linear, linear_of_bits

__all__ = ["linear", "linear_of_bits"]
