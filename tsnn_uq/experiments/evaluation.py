"""Evaluate a trained network: its uncertainty on any data set, its cost, and its export for other libraries."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tsnn_uq import data
from tsnn_uq.batches import device_of
from tsnn_uq.checks import InputError, check_choice
from tsnn_uq.cost import Cost, LayerCount, cost, count_layers, neuron_state_bytes
from tsnn_uq.devices import find_device, use_threads
from tsnn_uq.engine import Engine
from tsnn_uq.exchange import coding_of, from_nir, read_nir, to_nir, write_nir
from tsnn_uq.experiments.inputs import load_test
from tsnn_uq.experiments.settings import Context, Progress, Settings, silent
from tsnn_uq.experiments.storage import PREDICTIONS, load_run, read_predictions, seed_network
from tsnn_uq.metrics import functional as metrics
from tsnn_uq.results.measure_predictions import evaluate, uncertainty
from tsnn_uq.seeds import generator_for
from tsnn_uq.state import evaluation_mode
from tsnn_uq.uncertainty import make_stochastic, mc_predict, stochastic_layers

__all__ = [
    "FORMATS",
    "cost_of_run",
    "count_steps",
    "detection",
    "evaluate_nir",
    "evaluate_run",
    "export_run",
    "predict",
    "predict_each",
]

FORMATS = ("nir",)


def predict(
    network: nn.Module | Engine, dataset: data.Dataset, *, samples: int, seed: int, progress: Progress = silent
) -> Tensor:
    """Monte Carlo probabilities [S, N, C] of a data set; the same seed gives the same draws, also in the engine.

    The network runs on its own device, one block of inputs at a time; probabilities are on the CPU.
    """
    options: dict[str, Any] = {
        "samples": samples,
        "generator": generator_for(seed, "predict", dataset.name),
        "progress": lambda done: progress("predict", done, len(dataset)),
    }
    if isinstance(network, Engine):
        return network.mc_predict(dataset.images.to(network.device), **options).cpu()
    return mc_predict(network, dataset, **options).predictions.cpu()


def predict_each(networks: Sequence[nn.Module], dataset: data.Dataset, progress: Progress = silent) -> Tensor:
    """Probabilities [S, N, C] of S networks without random layers."""
    total = len(networks) * len(dataset)
    found = mc_predict(list(networks), dataset, progress=lambda done: progress("predict", done, total))
    return found.predictions.cpu()


def evaluate_run(
    folder: Path,
    name: str | None = None,
    *,
    samples: int | None = None,
    seed: int | None = None,
    engine: bool = False,
    context: Context = Context(),
) -> dict[str, Any]:
    """Evaluate a run's network on a data set.

    Args:
        folder: the run folder.
        name: data set, optionally shifted; ``None`` for that of the run.
        samples: number of Monte Carlo samples S; ``None`` for that of the run.
        seed: seed of the masks, and of random shifts; ``None`` for the masks of the run, and shifts that are the same
            for all runs.
        engine: whether to use the ternary engine (`tsnn_uq.engine`), with the same masks.
        context: where the data are, the device, and the progress callback.

    Returns:
        On the run's own data set, optionally shifted: the results of `evaluate`. On a foreign data set, whose labels
        have no meaning: the measures that need no labels, and how well predictive entropy and mutual information detect
        it.

    Raises:
        InputError: the folder has no trained run, the data set is unknown, or its images have another size.
    """
    network, settings, size = load_run(folder, context.device)
    stored = (folder / PREDICTIONS).exists()  # shipped runs have none
    as_stored = stored and not engine and samples in (None, settings.samples) and seed in (None, settings.seed)
    name = settings.data.name if name is None else name
    dataset = load_test(settings, name, context.data_dir, seed=seed or 0, shape=size["shape"])
    if list(dataset.shape) != size["shape"]:
        wanted = f"inputs of shape {size['shape']}, as the run was trained on"
        raise InputError(f"data: expected {wanted}; got {list(dataset.shape)}")
    seed_network(network, settings.seed, "steps")
    steps = count_steps(network, dataset.select(torch.tensor([0])).images.to(device_of(network)))
    model = Engine(network, dataset.shape) if engine else network
    samples = settings.samples if samples is None else samples
    seed = settings.seed if seed is None else seed

    def probabilities(inputs: data.Dataset, progress: Progress) -> Tensor:
        return predict(model, inputs, samples=samples, seed=seed, progress=progress)

    own: data.Dataset | Tensor | None = None
    if data.is_foreign(settings.data.name, name):
        own = read_predictions(folder)[0] if as_stored else load_test(settings, settings.data.name, context.data_dir)
    with use_threads(settings.threads):
        values = _evaluated(probabilities, dataset, own, settings.bins, context.of(folder.name))
    return {"data": name, "inputs": len(dataset), "samples": samples, "steps": steps, **values}


def evaluate_nir(
    path: Path,
    name: str | None = None,
    *,
    steps: int | None = None,
    dropout: float = 0.0,
    samples: int | None = None,
    seed: int | None = None,
    engine: bool = False,
    context: Context = Context(),
) -> dict[str, Any]:
    """Evaluate the network in a NIR file on a data set.

    Without dropout the network is deterministic, so there is one sample.

    Args:
        path: the file, written by any library.
        name: data set, optionally shifted; ``None`` for the one that `export_run` wrote to the file.
        steps: number of time steps of a constant current; ``None`` for the coding in the file.
        dropout: probability of Monte Carlo dropout before each fully connected layer except the first.
        samples: number of Monte Carlo samples S; ``None`` for 32.
        seed: seed of the masks, and of random shifts.
        engine: whether to use the ternary engine.
        context: where the data are, the device, and the progress callback.

    Returns:
        As from `evaluate_run`: the uncertainty on labelled data, or how well it detects data that are foreign according
            to the file.

    Raises:
        InputError: the file is missing, the graph is not supported, the data set is unknown, or its inputs have another
            size.
    """
    graph = read_nir(path)
    trained_on = str(graph.metadata["data"]) if "data" in graph.metadata else None
    name = trained_on if name is None else name
    if name is None:
        raise InputError(f"data: expected a data set, since {path} does not name one; got None")
    settings = Settings(data=data.split_shift(name)[0] if trained_on is None else trained_on)
    dataset = load_test(settings, name, context.data_dir, seed=seed or 0)
    foreign = trained_on is not None and data.is_foreign(trained_on, name)
    own = load_test(settings, settings.data.name, context.data_dir) if foreign else None
    network = _network_of(graph, dataset.shape, steps).to(find_device(context.device or "cpu"))
    if dropout:
        make_stochastic(network, "dropout", p=dropout, layers=_behind_spikes(network))
    random = bool(stochastic_layers(network))
    if not random and samples not in (None, 1):
        raise InputError(f"samples: expected 1, since nothing in {path} is random (see dropout); got {samples}")
    samples = (32 if samples is None else samples) if random else 1
    model = Engine(network, dataset.shape) if engine else network

    def probabilities(inputs: data.Dataset, progress: Progress) -> Tensor:
        if random:
            return predict(model, inputs, samples=samples, seed=seed or 0, progress=progress)
        if isinstance(model, Engine):
            blocks = inputs.images.to(model.device).split(256)
            return torch.cat([model.logits(block).softmax(-1).cpu() for block in blocks]).unsqueeze(0)
        return predict_each([model], inputs, progress)

    values = _evaluated(probabilities, dataset, own, settings.bins, context.of(path.name))
    return {"data": name, "inputs": len(dataset), "samples": samples, "steps": network[0].steps, **values}


def _evaluated(
    probabilities: Callable[[data.Dataset, Progress], Tensor],
    dataset: data.Dataset,
    own: data.Dataset | Tensor | None,
    bins: int,
    progress: Progress,
) -> dict[str, Any]:
    """Evaluate predictions, with one progress count for all data.

    Args:
        probabilities: function that predicts a data set.
        dataset: the data set to evaluate.
        own: if `dataset` is foreign, the network's own test set, or its probabilities.
        bins: number of bins of the calibration error.
        progress: the progress callback.
    """
    total = len(dataset) + (len(own) if isinstance(own, data.Dataset) else 0)
    probs = probabilities(dataset, lambda stage, done, _: progress(stage, done, total))
    if own is None:
        return evaluate(probs, dataset.labels, bins)
    if isinstance(own, data.Dataset):
        own = probabilities(own, lambda stage, done, _: progress(stage, len(dataset) + done, total))
    return uncertainty(probs) | detection(own, probs)


def detection(inside: Tensor, outside: Tensor) -> dict[str, float]:
    """How well uncertainty distinguishes foreign inputs [S, M, C] from a network's own [S, N, C].

    Returns:
        Area under the ROC curve, and share of own inputs that are flagged if 95 % of the foreign ones are, with
        predictive entropy and with mutual information as the score.
    """
    values = {}
    for score in (metrics.predictive_entropy, metrics.mutual_information):
        own, foreign = (score(probs, reduction="none") for probs in (inside, outside))
        values[f"ood_auroc ({score.__name__})"] = float(metrics.ood_auroc(own, foreign))
        values[f"ood_fpr95 ({score.__name__})"] = float(metrics.fpr_at_tpr(own, foreign))
    return values


def cost_of_run(
    folder: Path, *, samples: int = 1, accounting: str = "layer"
) -> tuple[tuple[LayerCount, ...], Cost, int]:
    """Compute the cost of the network of a run.

    Args:
        folder: folder of the run.
        samples: number of Monte Carlo samples S of one prediction.
        accounting: ``"layer"`` or ``"paper"``; see `tsnn_uq.cost.cost`.

    Returns:
        The counts of the layers, their cost for the time steps of the run, and the bytes of the neurons' potentials.

    Raises:
        InputError: the folder has no trained run, or an argument is out of range.
    """
    network, settings, size = load_run(folder)
    over_time = [settings.network.steps] if getattr(settings.network, "coding", "") == "events" else []
    example = torch.zeros(1, *over_time, *size["shape"])
    seed_network(network, settings.seed, "cost")
    layers = count_layers(network, example)
    total = cost(layers, steps=count_steps(network, example), samples=samples, accounting=accounting)
    return layers, total, neuron_state_bytes(network, example)


def count_steps(network: nn.Module, example: Tensor) -> int:
    """Number of time steps T of a network's outputs [T, N, C]; 1 for outputs [N, C]."""
    with evaluation_mode(network):
        outputs = network(example)
    return len(outputs) if outputs.dim() == 3 else 1


def export_run(folder: Path, path: Path, *, to: str = "nir") -> dict[str, Any]:
    """Export the network of a run to a file that other libraries can read.

    Args:
        folder: folder of the run.
        path: the file.
        to: the format, ``"nir"``.

    Returns:
        The type of each node by its name.

    Raises:
        InputError: the folder has no trained run, the format is unknown, or it does not support a layer.
    """
    check_choice("to", to, FORMATS)
    network, settings, size = load_run(folder)
    graph = to_nir(network, size["shape"])
    graph.metadata |= {"run": folder.resolve().name, "data": settings.data.name}
    write_nir(path, graph)
    return {name: type(node).__name__ for name, node in graph.nodes.items()}


def _network_of(graph: Any, shape: tuple[int, ...], steps: int | None) -> nn.Sequential:
    """The network of a graph for images of a shape, preceded by their coding."""
    layers = [coding_of(graph, steps), from_nir(graph)]
    given = next((node.input_type["input"] for node in graph.nodes.values() if type(node).__name__ == "Input"), None)
    wanted = shape if given is None else tuple(int(size) for size in np.ravel(given))
    if wanted == (math.prod(shape),) != shape:
        layers.insert(1, nn.Flatten(2))
    elif wanted != shape:
        raise InputError(f"data: expected inputs of shape {list(wanted)}, as the network takes; got {list(shape)}")
    return nn.Sequential(*layers).eval()


def _behind_spikes(network: nn.Module) -> list[str]:
    """The fully connected layers whose inputs are spikes: all except one that receives the network's input."""
    layers = [(name, layer) for name, layer in network.named_modules() if isinstance(layer, nn.Linear | nn.Conv2d)]
    return [name for name, layer in layers[1:] if isinstance(layer, nn.Linear)]
