"""What the scripts of analysis/ measure on trained runs: each a function from runs to a table of numbers to draw."""

from tsnn_uq.studies.activity import layer_sparsity, potential_distribution, spike_trains
from tsnn_uq.studies.anytime import anytime_curves
from tsnn_uq.studies.digits import pictures, uncertain_inputs
from tsnn_uq.studies.foreign import foreign_predictions
from tsnn_uq.studies.needed import Runs, require_runs
from tsnn_uq.studies.shift import shift_curves, shifted_examples
from tsnn_uq.studies.tradeoff import energy_curves, find_results, pareto_front, tradeoffs
from tsnn_uq.studies.variance import paired_variances
from tsnn_uq.studies.weights import weight_codes

__all__ = [
    "Runs",
    "anytime_curves",
    "energy_curves",
    "find_results",
    "foreign_predictions",
    "layer_sparsity",
    "paired_variances",
    "pareto_front",
    "pictures",
    "potential_distribution",
    "require_runs",
    "shift_curves",
    "shifted_examples",
    "spike_trains",
    "tradeoffs",
    "uncertain_inputs",
    "weight_codes",
]
