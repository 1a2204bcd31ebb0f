"""What the networks of runs say about inputs that they were not trained for."""

from __future__ import annotations

from torch import Tensor

from tsnn_uq.experiments.context import use_threads
from tsnn_uq.experiments.prediction import predict
from tsnn_uq.experiments.settings import Settings
from tsnn_uq.results.studies.inputs import foreign_inputs
from tsnn_uq.results.studies.needed import Runs

__all__ = ["foreign_predictions"]


def foreign_predictions(runs: Runs, name: str) -> dict[str, Tensor]:
    """By method, Monte Carlo probabilities [S, M, C] of the test set of another data set.

    Samples, time steps and masks are those of each run.

    Args:
        runs: of any methods.
        name: of a data set whose inputs have the shape of the runs' own, shifted or not.

    Raises:
        InputError: the data set is unknown, or its inputs have another shape.
    """
    dataset = foreign_inputs(runs, name)
    said = {}
    for method, folder in runs.folders.items():
        config = Settings.load(folder / "config.toml")
        with use_threads(config.threads):
            said[method] = predict(runs.network(method), dataset, samples=config.samples, seed=config.seed)
    return said
