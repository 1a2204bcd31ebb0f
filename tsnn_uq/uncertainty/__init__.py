"""Stochastic layers and Monte Carlo prediction."""

from tsnn_uq.state import rest
from tsnn_uq.uncertainty.add_dropout import make_deterministic, make_stochastic
from tsnn_uq.uncertainty.blockwise_prediction import Labelled
from tsnn_uq.uncertainty.dropconnect import DropConnectLinear
from tsnn_uq.uncertainty.dropout import Dropout
from tsnn_uq.uncertainty.mc_moments import mc_moments
from tsnn_uq.uncertainty.mc_predict import mc_predict
from tsnn_uq.uncertainty.moments import Moments
from tsnn_uq.uncertainty.stochastic_layer import MASK_MODES, StochasticLayer, draw_masks, set_generator
from tsnn_uq.uncertainty.stochastic_mode import only_stochastic_layers_train, stochastic_layers

__all__ = [
    "MASK_MODES",
    "DropConnectLinear",
    "Dropout",
    "Labelled",
    "Moments",
    "StochasticLayer",
    "draw_masks",
    "make_deterministic",
    "make_stochastic",
    "mc_moments",
    "mc_predict",
    "only_stochastic_layers_train",
    "rest",
    "set_generator",
    "stochastic_layers",
]
