"""Stochastic layers and Monte Carlo prediction."""

from tsnn_uq.uncertainty.dropconnect import DropConnectLinear
from tsnn_uq.uncertainty.dropout import Dropout
from tsnn_uq.uncertainty.masks import MASK_MODES, StochasticLayer, draw_masks, set_generator
from tsnn_uq.uncertainty.mc_predict import mc_predict
from tsnn_uq.uncertainty.stochastic import only_stochastic_layers_train, stochastic_layers

__all__ = [
    "MASK_MODES",
    "DropConnectLinear",
    "Dropout",
    "StochasticLayer",
    "draw_masks",
    "mc_predict",
    "only_stochastic_layers_train",
    "set_generator",
    "stochastic_layers",
]
