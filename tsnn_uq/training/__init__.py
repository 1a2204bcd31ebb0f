"""The training loop, and the training methods and regularizers that plug into it."""

from tsnn_uq.training.accuracy import accuracy
from tsnn_uq.training.batch_layout import Forward
from tsnn_uq.training.callbacks import Callback, CsvLog, History, TensorBoardLog
from tsnn_uq.training.fit_settings import FitSettings
from tsnn_uq.training.forward import forward_batch
from tsnn_uq.training.indirect import Distill, Indirect
from tsnn_uq.training.loop import fit
from tsnn_uq.training.methods import Direct, Float, Method
from tsnn_uq.training.quantized import quantize_trained, ternarize_trained
from tsnn_uq.training.registry import METHODS
from tsnn_uq.training.regularizers import (
    DEFAULT_REGULARIZER,
    NEED_IMAGES,
    PASSES,
    REGULARIZERS,
    AccuracyUncertaintyRegularizer,
    ConsistencyRegularizer,
    ContrastRegularizer,
    EntropyRegularizer,
    InformationRegularizer,
    KernelCalibrationRegularizer,
    MembraneRegularizer,
    OutlierExposure,
    QuantizationGapRegularizer,
    RateRegularizer,
    Regularizer,
    SoftBinnedRegularizer,
    VarianceRegularizer,
    WeightedSum,
    check_regularizer,
    make_regularizer,
    regularizer_terms,
)

__all__ = [
    "DEFAULT_REGULARIZER",
    "METHODS",
    "NEED_IMAGES",
    "PASSES",
    "REGULARIZERS",
    "AccuracyUncertaintyRegularizer",
    "Callback",
    "ConsistencyRegularizer",
    "ContrastRegularizer",
    "CsvLog",
    "Direct",
    "Distill",
    "EntropyRegularizer",
    "FitSettings",
    "Float",
    "Forward",
    "History",
    "Indirect",
    "InformationRegularizer",
    "KernelCalibrationRegularizer",
    "MembraneRegularizer",
    "Method",
    "OutlierExposure",
    "QuantizationGapRegularizer",
    "RateRegularizer",
    "Regularizer",
    "SoftBinnedRegularizer",
    "TensorBoardLog",
    "VarianceRegularizer",
    "WeightedSum",
    "accuracy",
    "check_regularizer",
    "fit",
    "forward_batch",
    "make_regularizer",
    "quantize_trained",
    "regularizer_terms",
    "ternarize_trained",
]
