"""Uncertainty metrics as `torchmetrics.Metric` classes; `tsnn_uq.metrics.functional` has them as functions."""

from tsnn_uq.metrics import functional
from tsnn_uq.metrics.aurc import Augrc, Aurc, ExcessAurc
from tsnn_uq.metrics.base import PerInputMetric
from tsnn_uq.metrics.calibration import (
    DebiasedCalibrationError,
    ExpectedCalibrationError,
    MaximumCalibrationError,
    OverconfidenceError,
    RmsCalibrationError,
    UnderconfidenceError,
)
from tsnn_uq.metrics.classwise_calibration import AdaptiveCalibrationError, ClasswiseCalibrationError
from tsnn_uq.metrics.conformal import ConformalClassifier, ConformalPoints, ConformalSets
from tsnn_uq.metrics.disagreement import PairwiseDisagreement, VariationRatio
from tsnn_uq.metrics.early_exit import EarlyExit, EarlyExitPoints, FirstStableStep
from tsnn_uq.metrics.entropy import ExpectedEntropy, PredictiveEntropy
from tsnn_uq.metrics.human_uncertainty import DoubtCorrelation, HumanCrossEntropy
from tsnn_uq.metrics.information import ExpectedPairwiseKl, MutualInformation
from tsnn_uq.metrics.mcnemar import McnemarResult, McnemarTest
from tsnn_uq.metrics.ood import FprAtTpr, OodAuprIn, OodAuprOut, OodAuroc
from tsnn_uq.metrics.ood_scores import EnergyScore, MaximumLogitScore, MaximumSoftmaxScore
from tsnn_uq.metrics.over_time import OverTime
from tsnn_uq.metrics.paired_bootstrap import BootstrapInterval, PairedBootstrap
from tsnn_uq.metrics.prediction_sets import SetCoverage, SetSize
from tsnn_uq.metrics.proper_scores import Accuracy, BrierScore, NegativeLogLikelihood
from tsnn_uq.metrics.reliability import BrierDecomposition, BrierParts, ReliabilityBins, ReliabilityCurve
from tsnn_uq.metrics.selective import (
    AccuracyAtCoverage,
    CoverageAtRisk,
    RiskCoverageCurve,
    RiskCoveragePoints,
)
from tsnn_uq.metrics.smooth_calibration import SmoothCalibrationError
from tsnn_uq.metrics.variance import PredictiveStd, PredictiveVariance

__all__ = [
    "Accuracy",
    "AccuracyAtCoverage",
    "AdaptiveCalibrationError",
    "Augrc",
    "Aurc",
    "BootstrapInterval",
    "BrierDecomposition",
    "BrierParts",
    "BrierScore",
    "ClasswiseCalibrationError",
    "ConformalClassifier",
    "ConformalPoints",
    "ConformalSets",
    "CoverageAtRisk",
    "DebiasedCalibrationError",
    "DoubtCorrelation",
    "EarlyExit",
    "EarlyExitPoints",
    "EnergyScore",
    "ExcessAurc",
    "ExpectedCalibrationError",
    "ExpectedEntropy",
    "ExpectedPairwiseKl",
    "FirstStableStep",
    "FprAtTpr",
    "HumanCrossEntropy",
    "MaximumCalibrationError",
    "MaximumLogitScore",
    "MaximumSoftmaxScore",
    "McnemarResult",
    "McnemarTest",
    "MutualInformation",
    "NegativeLogLikelihood",
    "OodAuprIn",
    "OodAuprOut",
    "OodAuroc",
    "OverTime",
    "OverconfidenceError",
    "PairedBootstrap",
    "PairwiseDisagreement",
    "PerInputMetric",
    "PredictiveEntropy",
    "PredictiveStd",
    "PredictiveVariance",
    "ReliabilityBins",
    "ReliabilityCurve",
    "RiskCoverageCurve",
    "RiskCoveragePoints",
    "RmsCalibrationError",
    "SetCoverage",
    "SetSize",
    "SmoothCalibrationError",
    "UnderconfidenceError",
    "VariationRatio",
    "functional",
]
