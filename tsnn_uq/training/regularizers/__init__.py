"""Uncertainty regularizers, to add to any loss: ``weight * regularizer.term(forward_batch(...))``, all of them."""

from tsnn_uq.training.regularizers.base import Regularizer, WeightedSum
from tsnn_uq.training.regularizers.calibration import (
    AccuracyUncertaintyRegularizer,
    KernelCalibrationRegularizer,
    SoftBinnedRegularizer,
)
from tsnn_uq.training.regularizers.consistency import ConsistencyRegularizer
from tsnn_uq.training.regularizers.exposure import OutlierExposure, divergence_from_uniform
from tsnn_uq.training.regularizers.gap import QuantizationGapRegularizer, quantization_gap
from tsnn_uq.training.regularizers.membrane import MembraneRegularizer, spike_variance
from tsnn_uq.training.regularizers.rate import RateRegularizer
from tsnn_uq.training.regularizers.registry import (
    DEFAULT_REGULARIZER,
    NEED_IMAGES,
    REGULARIZERS,
    check_regularizer,
    make_regularizer,
    regularizer_terms,
)
from tsnn_uq.training.regularizers.spread import (
    ContrastRegularizer,
    EntropyRegularizer,
    InformationRegularizer,
    VarianceRegularizer,
)

__all__ = [
    "DEFAULT_REGULARIZER",
    "NEED_IMAGES",
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
