"""The cost of a network: count its layers and their activity, then compute storage, FLOPs and energy."""

from tsnn_uq.cost.decision_energy import (
    ACCOUNTINGS,
    FLOAT_MULTIPLY_PJ,
    break_even_rate,
    conventional_energy,
    decision_energy,
    step_energy,
)
from tsnn_uq.cost.layer_counts import LayerCount, count_layers, ternary_scales
from tsnn_uq.cost.network_cost import DRAM_FETCH_PJ, FLOAT_ADD_PJ, Cost, LayerCost, cost
from tsnn_uq.cost.neuron_state import neuron_state_bytes
from tsnn_uq.cost.synaptic_operations import LayerActivity, count_activity

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
