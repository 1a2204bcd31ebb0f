"""Experiments: a configuration in, trained networks, predictions and rows of a table out."""

from tsnn_uq.experiments.config import PRESETS, Grid, RunConfig, preset
from tsnn_uq.experiments.run import evaluate, load_network, predict, read_predictions, run, uncertainty
from tsnn_uq.experiments.sweep import sweep, waves

__all__ = [
    "PRESETS",
    "Grid",
    "RunConfig",
    "evaluate",
    "load_network",
    "predict",
    "preset",
    "read_predictions",
    "run",
    "sweep",
    "uncertainty",
    "waves",
]
