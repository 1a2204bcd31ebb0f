"""Train networks with given settings, and keep their predictions and results."""

from tsnn_uq.components import follow, register
from tsnn_uq.experiments.comparison import compare
from tsnn_uq.experiments.evaluation import predict
from tsnn_uq.experiments.plan import Grid
from tsnn_uq.experiments.runner import run, sweep
from tsnn_uq.experiments.settings import Context, Settings, make_settings
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
