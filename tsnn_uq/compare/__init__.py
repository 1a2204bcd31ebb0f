"""Networks compared in Python: predicted, measured, priced and drawn, whichever library they are from."""

from tsnn_uq.compare.comparison import Comparison
from tsnn_uq.compare.networks import compare_networks, quantize_and_compare

__all__ = ["Comparison", "compare_networks", "quantize_and_compare"]
