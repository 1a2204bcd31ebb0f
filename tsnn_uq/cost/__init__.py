"""What a network costs: first count its layers, then price the counts."""

from tsnn_uq.cost.counts import LayerCount, count_layers, ternary_scales
from tsnn_uq.cost.energy import DRAM_FETCH_PJ, FLOAT_ADD_PJ, Cost, LayerCost, cost

__all__ = [
    "DRAM_FETCH_PJ",
    "FLOAT_ADD_PJ",
    "Cost",
    "LayerCost",
    "LayerCount",
    "cost",
    "count_layers",
    "ternary_scales",
]
