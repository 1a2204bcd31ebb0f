"""What networks say about inputs that they were not trained for."""

from __future__ import annotations

from torch import Tensor

from tsnn_uq.experiments.context import use_threads
from tsnn_uq.experiments.evaluation import predict
from tsnn_uq.experiments.settings import Settings
from tsnn_uq.results.predictions import NamedPredictions
from tsnn_uq.results.studies.inputs import foreign_inputs
from tsnn_uq.results.studies.run_selection import Source

__all__ = ["foreign_predictions"]


def foreign_predictions(source: Source, name: str) -> dict[str, Tensor]:
    """By method, Monte Carlo probabilities [S, M, C] of another data set.

    Of runs it is the test set of that data set, predicted with the samples, time steps and masks of each run; of
    predictions it is what they have of it.

    Args:
        source: runs of any methods, or predictions.
        name: of a data set whose inputs have the shape of the runs' own, shifted or not; or of a foreign set.

    Raises:
        InputError: the data set is unknown, or its inputs have another shape; or there are no predictions of it.
    """
    if isinstance(source, NamedPredictions):
        return {method: part.probs for method, part in source.foreign(name).items()}
    dataset = foreign_inputs(source, name)
    said = {}
    for method, folder in source.folders.items():
        config = Settings.load(folder / "config.toml")
        with use_threads(config.threads):
            said[method] = predict(source.network(method), dataset, samples=config.samples, seed=config.seed)
    return said
