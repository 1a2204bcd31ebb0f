"""The inputs that a study shows to the networks of its runs, and the masks it draws for them."""

from __future__ import annotations

from torch import Tensor, nn

from tsnn_uq import data
from tsnn_uq.batches import device_of
from tsnn_uq.checks import InputError, check_positive
from tsnn_uq.experiments.inputs import load_test
from tsnn_uq.experiments.settings import Settings
from tsnn_uq.experiments.storage import read_config
from tsnn_uq.results.studies.run_selection import Runs
from tsnn_uq.seeds import generator_for
from tsnn_uq.uncertainty import mc_predict

__all__ = ["at_most", "drawn", "foreign_inputs", "own_inputs", "require_alike", "settings"]


def require_alike(runs: Runs) -> None:
    """Raise unless runs are of one data set, number of time steps and number of samples."""
    configs = {method: read_config(folder) for method, folder in runs.folders.items()}
    for name in ("data", "network.steps", "samples"):
        found = {method: config.get(name) for method, config in configs.items()}
        if len(set(found.values())) > 1:
            text = ", ".join(f"{value} ({method})" for method, value in found.items())
            raise InputError(f"runs: expected one value of {name} to compare methods at; got {text}")


def settings(runs: Runs) -> dict[str, Settings]:
    """By method, what its run was made with; errors as of `require_alike`, or that components are not known."""
    require_alike(runs)
    return {method: Settings.load(folder / "config.toml") for method, folder in runs.folders.items()}


def own_inputs(runs: Runs, inputs: int | None = None) -> data.Dataset:
    """The test set of the runs, or at most `inputs` drawn from it.

    Raises:
        InputError: `inputs` is not positive, or what loading the data raises.
    """
    config = next(iter(settings(runs).values()))
    return at_most(load_test(config, config.data.name, runs.data_dir), inputs)


def foreign_inputs(runs: Runs, name: str, inputs: int | None = None) -> data.Dataset:
    """The test set of another data set, or a shifted one, or at most `inputs` drawn from it.

    Raises:
        InputError: the data set is unknown, or its inputs have another shape than the runs' own.
    """
    config = next(iter(settings(runs).values()))
    own = load_test(config, config.data.name, runs.data_dir)
    dataset = load_test(config, name, runs.data_dir, seed=runs.seed, shape=own.shape)
    if dataset.shape != own.shape:
        wanted = f"inputs of shape {list(own.shape)}, as the runs were trained on"
        raise InputError(f"outlier: expected {wanted}; got {list(dataset.shape)}")
    return at_most(dataset, inputs)


def at_most(dataset: data.Dataset, inputs: int | None) -> data.Dataset:
    """A data set, or so many inputs drawn from it.

    Raises:
        InputError: `inputs` is not positive.
    """
    if inputs is None:
        return dataset
    check_positive("inputs", inputs, integer=True)
    return dataset if inputs >= len(dataset) else dataset.subset(inputs)


def drawn(network: nn.Module, dataset: data.Dataset, config: Settings, mask: str | None = None) -> Tensor:
    """Probabilities after each time step [S, T, N, C], from the masks that the run itself drew for its predictions."""
    generator = generator_for(config.seed, "predict", dataset.name)
    images = dataset.images.to(device_of(network))
    return mc_predict(network, images, samples=config.samples, generator=generator, mask=mask, per_step=True).cpu()
