"""Compare networks of any library in Python: predictions, measures, costs and figures."""

from tsnn_uq.compare.comparison_result import Comparison
from tsnn_uq.compare.networks import compare_networks, quantize_and_compare

__all__ = ["Comparison", "compare_networks", "quantize_and_compare"]
