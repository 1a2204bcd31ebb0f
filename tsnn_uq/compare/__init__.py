"""Networks compared in Python: predicted, measured, priced and drawn, whichever library they are from."""

from tsnn_uq.compare.comparison import Comparison
from tsnn_uq.compare.networks import compare_networks, quantize_and_compare
from tsnn_uq.compare.predict import predict_parts

__all__ = ["Comparison", "compare_networks", "predict_parts", "quantize_and_compare"]
