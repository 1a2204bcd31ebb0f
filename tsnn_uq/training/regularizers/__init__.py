"""Uncertainty regularizers for any loss; add ``weight * regularizer.term(forward_batch(...))``."""

from tsnn_uq.training.regularizers.base import Regularizer, WeightedSum
from tsnn_uq.training.regularizers.calibration_loss import (
    AccuracyUncertaintyRegularizer,
    KernelCalibrationRegularizer,
    SoftBinnedRegularizer,
)
from tsnn_uq.training.regularizers.consistency import ConsistencyRegularizer
from tsnn_uq.training.regularizers.firing_rate import RateRegularizer
from tsnn_uq.training.regularizers.membrane_potential import MembraneRegularizer, spike_variance
from tsnn_uq.training.regularizers.outlier_exposure import OutlierExposure, divergence_from_uniform
from tsnn_uq.training.regularizers.predictive_uncertainty import (
    ContrastRegularizer,
    EntropyRegularizer,
    InformationRegularizer,
    VarianceRegularizer,
)
from tsnn_uq.training.regularizers.quantization_gap import QuantizationGapRegularizer, quantization_gap
from tsnn_uq.training.regularizers.registry import (
    DEFAULT_REGULARIZER,
    NEED_IMAGES,
    PASSES,
    REGULARIZERS,
    check_regularizer,
    make_regularizer,
    regularizer_terms,
)

__all__ = [
    "DEFAULT_REGULARIZER",
    "NEED_IMAGES",
    "PASSES",
    "REGULARIZERS",
    "AccuracyUncertaintyRegularizer",
    "ConsistencyRegularizer",
    "ContrastRegularizer",
    "EntropyRegularizer",
    "InformationRegularizer",
    "KernelCalibrationRegularizer",
    "MembraneRegularizer",
    "OutlierExposure",
    "QuantizationGapRegularizer",
    "RateRegularizer",
    "Regularizer",
    "SoftBinnedRegularizer",
    "VarianceRegularizer",
    "WeightedSum",
    "check_regularizer",
    "divergence_from_uniform",
    "make_regularizer",
    "quantization_gap",
    "regularizer_terms",
    "spike_variance",
]
