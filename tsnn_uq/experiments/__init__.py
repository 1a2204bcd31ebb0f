"""Experiments: settings in, trained networks, predictions and rows of a table out."""

from tsnn_uq.components import follow, register
from tsnn_uq.experiments.context import Context
from tsnn_uq.experiments.evaluation import predict
from tsnn_uq.experiments.plan import Grid, compare
from tsnn_uq.experiments.run import run
from tsnn_uq.experiments.runner import sweep
from tsnn_uq.experiments.settings import Settings, make_settings
from tsnn_uq.experiments.storage import load_network, read_predictions
from tsnn_uq.results.measure_predictions import evaluate, uncertainty

__all__ = [
    "Context",
    "Grid",
    "Settings",
    "compare",
    "evaluate",
    "follow",
    "load_network",
    "make_settings",
    "predict",
    "read_predictions",
    "register",
    "run",
    "sweep",
    "uncertainty",
]
