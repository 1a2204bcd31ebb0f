"""One training loop; methods and regularizers are small objects put into it."""

from tsnn_uq.training.indirect import Distill, Indirect
from tsnn_uq.training.loop import FitSettings, History, accuracy, fit
from tsnn_uq.training.methods import Direct, Float, Method
from tsnn_uq.training.registry import METHODS
from tsnn_uq.training.regularizers import (
    REGULARIZERS,
    EntropyRegularizer,
    Regularizer,
    VarianceRegularizer,
    make_regularizer,
)

__all__ = [
    "METHODS",
    "REGULARIZERS",
    "Direct",
    "Distill",
    "EntropyRegularizer",
    "FitSettings",
    "Float",
    "History",
    "Indirect",
    "Method",
    "Regularizer",
    "VarianceRegularizer",
    "accuracy",
    "fit",
    "make_regularizer",
]
