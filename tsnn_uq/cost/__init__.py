"""The cost of a network: count its layers and their activity, then compute storage, FLOPs and energy."""

from tsnn_uq.cost.activity import LayerActivity, count_activity
from tsnn_uq.cost.counts import LayerCount, count_layers, ternary_scales
from tsnn_uq.cost.decision_energy import (
    ACCOUNTINGS,
    FLOAT_MULTIPLY_PJ,
    break_even_rate,
    conventional_energy,
    decision_energy,
    step_energy,
)
from tsnn_uq.cost.energy import DRAM_FETCH_PJ, FLOAT_ADD_PJ, Cost, LayerCost, cost
from tsnn_uq.cost.neuron_state import neuron_state_bytes

__all__ = [
    "ACCOUNTINGS",
    "DRAM_FETCH_PJ",
    "FLOAT_ADD_PJ",
    "FLOAT_MULTIPLY_PJ",
    "Cost",
    "LayerActivity",
    "LayerCost",
    "LayerCount",
    "break_even_rate",
    "conventional_energy",
    "cost",
    "count_activity",
    "count_layers",
    "decision_energy",
    "neuron_state_bytes",
    "step_energy",
    "ternary_scales",
]
