"""Inputs for the networks of trained runs, and predictions of these inputs."""

from __future__ import annotations

from torch import Tensor, nn

from tsnn_uq import data
from tsnn_uq.batches import device_of
from tsnn_uq.checks import InputError, check_positive
from tsnn_uq.devices import use_threads
from tsnn_uq.experiments.evaluation import predict
from tsnn_uq.experiments.inputs import load_test
from tsnn_uq.experiments.settings import Settings
from tsnn_uq.experiments.storage import read_config
from tsnn_uq.results.predictions import NamedPredictions
from tsnn_uq.results.studies.run_selection import Runs, RunsOrPredictions
from tsnn_uq.seeds import generator_for
from tsnn_uq.uncertainty import mc_predict

__all__ = [
    "draw_inputs",
    "foreign_inputs",
    "foreign_predictions",
    "own_inputs",
    "predict_over_time",
    "require_same_setting",
    "run_settings",
]


def require_same_setting(runs: Runs) -> None:
    """Raise unless all runs have the same data set, number of time steps and number of samples."""
    configs = {method: read_config(folder) for method, folder in runs.folders.items()}
    for name in ("data", "network.steps", "samples"):
        found = {method: config.get(name) for method, config in configs.items()}
        if len(set(found.values())) > 1:
            text = ", ".join(f"{value} ({method})" for method, value in found.items())
            raise InputError(f"runs: expected one value of {name} to compare methods at; got {text}")


def run_settings(runs: Runs) -> dict[str, Settings]:
    """Settings of the run of each method; raises as `require_same_setting`, or if components are unknown."""
    require_same_setting(runs)
    return {method: Settings.load(folder / "config.toml") for method, folder in runs.folders.items()}


def own_inputs(runs: Runs, inputs: int | None = None) -> data.Dataset:
    """The test set of the runs, or at most `inputs` drawn from it.

    Raises:
        InputError: `inputs` is not positive, or data cannot be loaded.
    """
    config = next(iter(run_settings(runs).values()))
    return draw_inputs(load_test(config, config.data.name, runs.data_dir), inputs)


def foreign_inputs(runs: Runs, name: str, inputs: int | None = None) -> data.Dataset:
    """The test set of another data set, or a shifted one, or at most `inputs` drawn from it.

    Raises:
        InputError: the data set is unknown, or its inputs have another shape than the runs' own.
    """
    config = next(iter(run_settings(runs).values()))
    own = load_test(config, config.data.name, runs.data_dir)
    dataset = load_test(config, name, runs.data_dir, seed=runs.seed, shape=own.shape)
    if dataset.shape != own.shape:
        wanted = f"inputs of shape {list(own.shape)}, as the runs were trained on"
        raise InputError(f"outlier: expected {wanted}; got {list(dataset.shape)}")
    return draw_inputs(dataset, inputs)


def draw_inputs(dataset: data.Dataset, inputs: int | None) -> data.Dataset:
    """A data set, or at most `inputs` drawn from it.

    Raises:
        InputError: `inputs` is not positive.
    """
    if inputs is None:
        return dataset
    check_positive("inputs", inputs, integer=True)
    return dataset if inputs >= len(dataset) else dataset.subset(inputs)


def predict_over_time(network: nn.Module, dataset: data.Dataset, config: Settings, mask: str | None = None) -> Tensor:
    """Probabilities after each time step [S, T, N, C], with the same masks as the stored predictions of the run."""
    generator = generator_for(config.seed, "predict", dataset.name)
    images = dataset.images.to(device_of(network))
    return mc_predict(network, images, samples=config.samples, generator=generator, mask=mask, per_step=True).cpu()


def foreign_predictions(source: RunsOrPredictions, name: str) -> dict[str, Tensor]:
    """Monte Carlo probabilities [S, M, C] of another data set by method.

    Networks of runs predict its test set with the samples, time steps and masks of each run.

    Args:
        source: runs of any methods, or predictions.
        name: for runs, name of a data set with inputs of the same shape, shifted or not; for predictions, name of a
            foreign set.

    Raises:
        InputError: the data set is unknown, its inputs have another shape, or there are no predictions for it.
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
