"""What the scripts of analysis/ measure: each a function from predictions, or trained runs, to a table to draw."""

from tsnn_uq.results.studies.activity import layer_sparsity, potential_distribution, spike_trains
from tsnn_uq.results.studies.anytime import anytime_curves
from tsnn_uq.results.studies.corruption import corrupted_examples, corruption_curves, corruption_errors
from tsnn_uq.results.studies.detection import SCORES, foreign_detection
from tsnn_uq.results.studies.digits import pictures, uncertain_inputs
from tsnn_uq.results.studies.doubt import doubts
from tsnn_uq.results.studies.foreign import foreign_predictions
from tsnn_uq.results.studies.run_selection import Runs, Source, read_named, require_runs
from tsnn_uq.results.studies.shift import shift_curves, shifted_examples
from tsnn_uq.results.studies.stopping import stopping_curves
from tsnn_uq.results.studies.tradeoff import energy_curves, find_results, pareto_front, tradeoff_table, tradeoffs
from tsnn_uq.results.studies.variance import paired_variances
from tsnn_uq.results.studies.weights import weight_codes

__all__ = [
    "SCORES",
    "Runs",
    "Source",
    "anytime_curves",
    "corrupted_examples",
    "corruption_curves",
    "corruption_errors",
    "doubts",
    "energy_curves",
    "find_results",
    "foreign_detection",
    "foreign_predictions",
    "layer_sparsity",
    "paired_variances",
    "pareto_front",
    "pictures",
    "potential_distribution",
    "read_named",
    "require_runs",
    "shift_curves",
    "shifted_examples",
    "spike_trains",
    "stopping_curves",
    "tradeoff_table",
    "tradeoffs",
    "uncertain_inputs",
    "weight_codes",
]
