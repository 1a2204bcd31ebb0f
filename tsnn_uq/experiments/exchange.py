"""Runs as files of NIR, and how sure the networks in such files are, whichever library wrote them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tsnn_uq import data
from tsnn_uq.checks import InputError, check_choice
from tsnn_uq.devices import find_device
from tsnn_uq.engine import Engine
from tsnn_uq.exchange import coding_of, from_nir, read_nir, to_nir, write_nir
from tsnn_uq.experiments.context import Context, Progress
from tsnn_uq.experiments.evaluation import detection
from tsnn_uq.experiments.inputs import is_foreign, load_test, split_shift
from tsnn_uq.experiments.prediction import predict, where
from tsnn_uq.experiments.settings import Settings
from tsnn_uq.experiments.storage import load_sized_network
from tsnn_uq.readout import logits
from tsnn_uq.results.evaluate import evaluate, uncertainty
from tsnn_uq.uncertainty import make_stochastic, stochastic_layers

__all__ = ["FORMATS", "evaluate_nir", "export_run"]

FORMATS = ("nir",)
BATCH = 256


def export_run(folder: Path, path: Path, *, to: str = "nir") -> dict[str, Any]:
    """Write the network of a run as a file that other libraries read.

    Args:
        folder: the run's folder.
        path: the file.
        to: its format, ``"nir"``.

    Returns:
        The kind of each node by its name.

    Raises:
        InputError: no trained run there, an unknown format, or a layer that the format cannot say, with a remedy.
    """
    check_choice("to", to, FORMATS)
    network, size = load_sized_network(folder)
    graph = to_nir(network, size["shape"])
    graph.metadata |= {"run": folder.resolve().name, "data": Settings.load(folder / "config.toml").data.name}
    write_nir(path, graph)
    return {name: type(node).__name__ for name, node in graph.nodes.items()}


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
    """Evaluate the network in a file of NIR on a data set.

    Without dropout nothing in such a network is random, and it predicts once.

    Args:
        path: the file, of any library.
        name: data set, shifted or not; ``None`` for the one that `export_run` names in the file.
        steps: time steps of a constant current; ``None`` for the coding that the file names.
        dropout: probability of Monte Carlo dropout put before each fully connected layer but the first.
        samples: Monte Carlo samples S; ``None`` for 32.
        seed: seed of the masks, and of a shift's noise.
        engine: whether to run it in the ternary engine.
        context: where the data are, where the network runs, and who is told of progress.

    Returns:
        As `tsnn_uq.experiments.evaluation.evaluate_run`: the uncertainty on labelled data, or, where the file says
        that they are foreign, how well it detects them.

    Raises:
        InputError: no such file, a graph that cannot be read, an unknown data set, or inputs of another size.
    """
    graph = read_nir(path)
    own = str(graph.metadata["data"]) if "data" in graph.metadata else None
    name = own if name is None else name
    if name is None:
        raise InputError(f"data: expected a data set, since {path} names none; got none")
    settings = Settings(data=split_shift(name)[0] if own is None else own)
    dataset = load_test(settings, name, context.data_dir, seed=seed or 0)
    known = load_test(settings, own, context.data_dir) if own is not None and is_foreign(own, name) else None
    network = _classifier(graph, dataset.shape, steps).to(find_device(context.device or "cpu"))
    if dropout:
        make_stochastic(network, "dropout", p=dropout, layers=_behind_spikes(network))
    random = bool(stochastic_layers(network))
    if not random and samples not in (None, 1):
        raise InputError(f"samples: expected 1, since nothing in {path} is random (see dropout); got {samples}")
    samples = (32 if samples is None else samples) if random else 1
    model = Engine(network, dataset.shape) if engine else network
    inputs, progress = len(dataset) + (len(known) if known else 0), context.of(path.name)

    def probabilities(images: data.Dataset, before: int = 0) -> Tensor:
        def report(stage: str, done: int, _: int) -> None:
            progress(stage, before + done, inputs)

        if random:
            return predict(model, images, samples=samples, seed=seed or 0, progress=report)
        return _predict_once(model, images, report)

    probs = probabilities(dataset)
    values = {"data": name, "inputs": len(dataset), "samples": samples, "steps": network[0].steps}
    if known is None:
        return values | evaluate(probs, dataset.labels)
    return values | uncertainty(probs) | detection(probabilities(known, before=len(dataset)), probs)


def _classifier(graph: Any, shape: tuple[int, ...], steps: int | None) -> nn.Sequential:
    """The network of a graph for images of a shape, with their coding before it."""
    layers = [coding_of(graph, steps), from_nir(graph)]
    given = next((node.input_type["input"] for node in graph.nodes.values() if type(node).__name__ == "Input"), None)
    wanted = shape if given is None else tuple(int(size) for size in np.ravel(given))
    if wanted == (math.prod(shape),) != shape:
        layers.insert(1, nn.Flatten(2))
    elif wanted != shape:
        raise InputError(f"data: expected inputs of shape {list(wanted)}, as the network takes; got {list(shape)}")
    return nn.Sequential(*layers).eval()


def _behind_spikes(network: nn.Module) -> list[str]:
    """The fully connected layers but one that takes the input itself, whose values dropout is not for."""
    layers = [(name, layer) for name, layer in network.named_modules() if isinstance(layer, nn.Linear | nn.Conv2d)]
    return [name for name, layer in layers[1:] if isinstance(layer, nn.Linear)]


@torch.no_grad()
def _predict_once(model: nn.Module | Engine, dataset: data.Dataset, progress: Progress) -> Tensor:
    """Probabilities [1, N, C] of a network in which nothing is random."""
    read = model.logits if isinstance(model, Engine) else lambda images: logits(model(images))
    probs = []
    for images in dataset.images.split(BATCH):
        probs.append(read(images.to(where(model))).softmax(-1).cpu())
        progress("predict", sum(map(len, probs)), len(dataset))
    return torch.cat(probs).unsqueeze(0)
