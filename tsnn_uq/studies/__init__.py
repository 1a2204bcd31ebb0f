"""What the scripts of analysis/ measure on trained runs: each a function from runs to a table of numbers to draw."""

from tsnn_uq.studies.activity import layer_sparsity, potential_distribution, spike_trains
from tsnn_uq.studies.needed import Runs, require_runs
from tsnn_uq.studies.weights import weight_codes

__all__ = [
    "Runs",
    "layer_sparsity",
    "potential_distribution",
    "require_runs",
    "spike_trains",
    "weight_codes",
]
