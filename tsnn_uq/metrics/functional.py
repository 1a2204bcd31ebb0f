"""The metrics as pure functions; each is defined in the same module as its class."""

from tsnn_uq.metrics.aurc import augrc, aurc, excess_aurc
from tsnn_uq.metrics.calibration import (
    debiased_calibration_error,
    expected_calibration_error,
    maximum_calibration_error,
    overconfidence_error,
    rms_calibration_error,
    underconfidence_error,
)
from tsnn_uq.metrics.classwise_calibration import adaptive_calibration_error, classwise_calibration_error
from tsnn_uq.metrics.conformal import conformal_sets
from tsnn_uq.metrics.disagreement import pairwise_disagreement, variation_ratio
from tsnn_uq.metrics.early_exit import early_exit, first_stable_step
from tsnn_uq.metrics.entropy import expected_entropy, predictive_entropy
from tsnn_uq.metrics.human_uncertainty import doubt_correlation, human_cross_entropy
from tsnn_uq.metrics.information import expected_pairwise_kl, mutual_information
from tsnn_uq.metrics.mcnemar import mcnemar_test
from tsnn_uq.metrics.ood import fpr_at_tpr, ood_aupr_in, ood_aupr_out, ood_auroc
from tsnn_uq.metrics.ood_scores import energy_score, maximum_logit_score, maximum_softmax_score
from tsnn_uq.metrics.over_time import average_over_time, over_time, time_as_samples
from tsnn_uq.metrics.paired_bootstrap import paired_bootstrap
from tsnn_uq.metrics.prediction_sets import set_coverage, set_size
from tsnn_uq.metrics.proper_scores import accuracy, brier_score, negative_log_likelihood
from tsnn_uq.metrics.reliability import brier_decomposition, reliability_curve
from tsnn_uq.metrics.selective import accuracy_at_coverage, coverage_at_risk, risk_coverage_curve
from tsnn_uq.metrics.smooth_calibration import smooth_calibration_error
from tsnn_uq.metrics.variance import predictive_std, predictive_variance

__all__ = [
    "accuracy",
    "accuracy_at_coverage",
    "adaptive_calibration_error",
    "augrc",
    "aurc",
    "average_over_time",
    "brier_decomposition",
    "brier_score",
    "classwise_calibration_error",
    "conformal_sets",
    "coverage_at_risk",
    "debiased_calibration_error",
    "doubt_correlation",
    "early_exit",
    "energy_score",
    "excess_aurc",
    "expected_calibration_error",
    "expected_entropy",
    "expected_pairwise_kl",
    "first_stable_step",
    "fpr_at_tpr",
    "human_cross_entropy",
    "maximum_calibration_error",
    "maximum_logit_score",
    "maximum_softmax_score",
    "mcnemar_test",
    "mutual_information",
    "negative_log_likelihood",
    "ood_aupr_in",
    "ood_aupr_out",
    "ood_auroc",
    "over_time",
    "overconfidence_error",
    "paired_bootstrap",
    "pairwise_disagreement",
    "predictive_entropy",
    "predictive_std",
    "predictive_variance",
    "reliability_curve",
    "risk_coverage_curve",
    "rms_calibration_error",
    "set_coverage",
    "set_size",
    "smooth_calibration_error",
    "time_as_samples",
    "underconfidence_error",
    "variation_ratio",
]
