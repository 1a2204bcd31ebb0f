"""Experiments: a configuration in, trained networks, predictions and rows of a table out."""

from tsnn_uq.experiments.config import RunConfig, make_run
from tsnn_uq.experiments.folder import load_network, read_predictions
from tsnn_uq.experiments.grid import Grid, make_grid
from tsnn_uq.experiments.measure import evaluate, predict, uncertainty
from tsnn_uq.experiments.presets import PRESETS, preset
from tsnn_uq.experiments.run import run
from tsnn_uq.experiments.sweep import sweep, waves

__all__ = [
    "PRESETS",
    "Grid",
    "RunConfig",
    "evaluate",
    "load_network",
    "make_grid",
    "make_run",
    "predict",
    "preset",
    "read_predictions",
    "run",
    "sweep",
    "uncertainty",
    "waves",
]
