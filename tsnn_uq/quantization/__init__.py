"""Ternary quantization of any module."""

from tsnn_uq.quantization.freezing import freeze
from tsnn_uq.quantization.layer_selection import PARTS, select_layers
from tsnn_uq.quantization.rules import (
    RULES,
    SCALES,
    by_group,
    fit_scale,
    make_rule,
    mean_fraction,
    mean_rounding,
    quantile,
    ternary_codes,
)
from tsnn_uq.quantization.ternary import LearnedTernary, Ternary, float_weights, ternarize
from tsnn_uq.quantization.weight_files import load_weights, save_weights

__all__ = [
    "PARTS",
    "RULES",
    "SCALES",
    "LearnedTernary",
    "Ternary",
    "by_group",
    "fit_scale",
    "float_weights",
    "freeze",
    "load_weights",
    "make_rule",
    "mean_fraction",
    "mean_rounding",
    "quantile",
    "save_weights",
    "select_layers",
    "ternarize",
    "ternary_codes",
]
