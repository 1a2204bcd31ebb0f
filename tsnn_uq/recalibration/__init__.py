"""Recalibration on a validation split, behind one interface of `fit` and `transform`."""

from tsnn_uq.recalibration.base import Recalibrator
from tsnn_uq.recalibration.bayesian_temperature import BayesianTemperatureScaling
from tsnn_uq.recalibration.one_vs_rest import HistogramBinning, IsotonicRegression
from tsnn_uq.recalibration.scaling import BetaScaling, DirichletScaling, VectorScaling
from tsnn_uq.recalibration.temperature import TemperatureScaling

__all__ = [
    "BayesianTemperatureScaling",
    "BetaScaling",
    "DirichletScaling",
    "HistogramBinning",
    "IsotonicRegression",
    "Recalibrator",
    "TemperatureScaling",
    "VectorScaling",
]
