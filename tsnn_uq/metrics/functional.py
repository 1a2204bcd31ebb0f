"""The metrics as pure functions; each stands beside its class in the file named after its idea."""

from tsnn_uq.metrics.calibration import (
    debiased_calibration_error,
    expected_calibration_error,
    maximum_calibration_error,
    rms_calibration_error,
)
from tsnn_uq.metrics.classwise import adaptive_calibration_error, classwise_calibration_error
from tsnn_uq.metrics.disagreement import pairwise_disagreement, variation_ratio
from tsnn_uq.metrics.entropy import expected_entropy, predictive_entropy
from tsnn_uq.metrics.information import expected_pairwise_kl, mutual_information
from tsnn_uq.metrics.ood import fpr_at_tpr, ood_aupr_in, ood_aupr_out, ood_auroc
from tsnn_uq.metrics.reliability import brier_decomposition, reliability_curve
from tsnn_uq.metrics.risk_areas import augrc, aurc, excess_aurc
from tsnn_uq.metrics.scores import brier_score, negative_log_likelihood
from tsnn_uq.metrics.selective import accuracy_at_coverage, coverage_at_risk, risk_coverage_curve
from tsnn_uq.metrics.variance import predictive_std, predictive_variance

__all__ = [
    "accuracy_at_coverage",
    "adaptive_calibration_error",
    "augrc",
    "aurc",
    "brier_decomposition",
    "brier_score",
    "classwise_calibration_error",
    "coverage_at_risk",
    "debiased_calibration_error",
    "excess_aurc",
    "expected_calibration_error",
    "expected_entropy",
    "expected_pairwise_kl",
    "fpr_at_tpr",
    "maximum_calibration_error",
    "mutual_information",
    "negative_log_likelihood",
    "ood_aupr_in",
    "ood_aupr_out",
    "ood_auroc",
    "pairwise_disagreement",
    "predictive_entropy",
    "predictive_std",
    "predictive_variance",
    "reliability_curve",
    "risk_coverage_curve",
    "rms_calibration_error",
    "variation_ratio",
]
