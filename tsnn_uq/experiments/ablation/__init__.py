"""Ablation of uncertainty terms in the loss: each term at several weights, evaluated on test data and foreign data."""

from tsnn_uq.experiments.ablation.candidates import (
    CANDIDATES,
    FINALS,
    SCREENING,
    Stage,
    chosen_terms,
    suited,
)
from tsnn_uq.experiments.ablation.measured_runs import measure_run
from tsnn_uq.experiments.ablation.posteriors import (
    TEMPERATURES,
    count_posteriors,
    posteriors,
    posteriors_folder,
    posteriors_runs,
)
from tsnn_uq.experiments.ablation.selection import (
    best_terms,
    chosen_everywhere,
    chosen_weights,
    compare_weights,
    finalists,
    read_stage,
)
from tsnn_uq.experiments.ablation.stages import finals, finals_runs, screening, screening_runs
from tsnn_uq.results.measure_predictions import measure_predictions

__all__ = [
    "CANDIDATES",
    "FINALS",
    "SCREENING",
    "TEMPERATURES",
    "Stage",
    "best_terms",
    "chosen_everywhere",
    "chosen_terms",
    "chosen_weights",
    "compare_weights",
    "count_posteriors",
    "finalists",
    "finals",
    "finals_runs",
    "measure_predictions",
    "measure_run",
    "posteriors",
    "posteriors_folder",
    "posteriors_runs",
    "read_stage",
    "screening",
    "screening_runs",
    "suited",
]
