"""Studies for the scripts of analysis/: each is a function from predictions or trained runs to a table."""

from tsnn_uq.results.studies.activity import layer_sparsity, potential_distribution, spike_trains
from tsnn_uq.results.studies.anytime import anytime_curves
from tsnn_uq.results.studies.corruption import corrupted_examples, corruption_curves, corruption_errors
from tsnn_uq.results.studies.detection import SCORES, foreign_detection
from tsnn_uq.results.studies.firing_rates import firing_rates
from tsnn_uq.results.studies.human_uncertainty import compare_with_people
from tsnn_uq.results.studies.run_inputs import foreign_predictions
from tsnn_uq.results.studies.run_selection import Runs, RunsOrPredictions, read_named, require_runs
from tsnn_uq.results.studies.shift import shift_curves, shifted_examples
from tsnn_uq.results.studies.stopping import stopping_curves
from tsnn_uq.results.studies.tradeoff import energy_curves, find_results, pareto_front, tradeoff_table, tradeoffs
from tsnn_uq.results.studies.uncertain_inputs import input_pictures, uncertain_inputs
from tsnn_uq.results.studies.variance import paired_variances
from tsnn_uq.results.studies.weight_histograms import weight_histograms

__all__ = [
    "SCORES",
    "Runs",
    "RunsOrPredictions",
    "anytime_curves",
    "compare_with_people",
    "corrupted_examples",
    "corruption_curves",
    "corruption_errors",
    "energy_curves",
    "find_results",
    "firing_rates",
    "foreign_detection",
    "foreign_predictions",
    "input_pictures",
    "layer_sparsity",
    "paired_variances",
    "pareto_front",
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
    "weight_histograms",
]
