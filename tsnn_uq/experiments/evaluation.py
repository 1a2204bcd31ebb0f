"""How sure a trained run is on any data set: its own, a shifted one, or a foreign one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tsnn_uq import data
from tsnn_uq.batches import device_of
from tsnn_uq.checks import InputError
from tsnn_uq.engine import Engine
from tsnn_uq.experiments.context import Context, use_threads
from tsnn_uq.experiments.inputs import is_foreign, load_test
from tsnn_uq.experiments.prediction import predict
from tsnn_uq.experiments.run import count_steps
from tsnn_uq.experiments.settings import Settings
from tsnn_uq.experiments.storage import PREDICTIONS, load_sized_network, read_predictions, seed_network
from tsnn_uq.metrics import functional as metrics
from tsnn_uq.results.evaluate import evaluate, uncertainty

__all__ = ["detection", "evaluate_run"]


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
        name: data set, shifted or not; ``None`` for the one the run was trained on.
        samples: Monte Carlo samples S; ``None`` for the run's own.
        seed: seed of the masks, and of a shift's noise; ``None`` for the run's own masks, and the same noise for
            all runs.
        engine: whether to run it in the ternary engine (`tsnn_uq.engine`), from the same masks.
        context: where the data are, where the network runs, and who is told of progress.

    Returns:
        On the run's own data set, shifted or not: what `evaluate` returns. On a foreign one, where labels mean
        nothing: the label-free quantities, and how well predictive entropy and mutual information detect it.

    Raises:
        InputError: no trained run in the folder, an unknown data set, or images of another size.
    """
    (network, size), settings = load_sized_network(folder, context.device), Settings.load(folder / "config.toml")
    own, progress = settings.data.name, context.of(folder.name)
    name = own if name is None else name
    stored = (folder / PREDICTIONS).exists()  # not in a shipped run
    as_stored = stored and not engine and samples in (None, settings.samples) and seed in (None, settings.seed)
    samples = settings.samples if samples is None else samples
    dataset = load_test(settings, name, context.data_dir, seed=seed or 0, shape=size["shape"])
    if list(dataset.shape) != size["shape"]:
        wanted = f"inputs of shape {size['shape']}, as the run was trained on"
        raise InputError(f"data: expected {wanted}; got {list(dataset.shape)}")
    foreign = is_foreign(own, name)
    known = None if as_stored or not foreign else load_test(settings, own, context.data_dir)
    inputs = len(dataset) + (len(known) if known else 0)
    seed_network(network, settings.seed, "steps")
    steps = count_steps(network, dataset.select(torch.tensor([0])).images.to(device_of(network)))
    model = Engine(network, dataset.shape) if engine else network

    def probabilities(images: data.Dataset, before: int = 0) -> Tensor:
        return predict(
            model,
            images,
            samples=samples,
            seed=settings.seed if seed is None else seed,
            progress=lambda stage, done, _: progress(stage, before + done, inputs),
        )

    with use_threads(settings.threads):
        probs = probabilities(dataset)
        values: dict[str, Any] = {"data": name, "inputs": len(dataset), "samples": samples, "steps": steps}
        if not foreign:
            return values | evaluate(probs, dataset.labels, settings.bins)
        inside = probabilities(known, before=len(dataset)) if known else read_predictions(folder)[0]
        return values | uncertainty(probs) | detection(inside, probs)


def detection(inside: Tensor, outside: Tensor) -> dict[str, float]:
    """How well uncertainty tells foreign inputs [S, M, C] from a network's own [S, N, C].

    Returns:
        Area under the ROC curve, and share of own inputs flagged when 95 % of the foreign ones are caught,
        with predictive entropy and with mutual information as the score.
    """
    values = {}
    for score in (metrics.predictive_entropy, metrics.mutual_information):
        own, foreign = (score(probs, reduction="none") for probs in (inside, outside))
        values[f"ood_auroc ({score.__name__})"] = float(metrics.ood_auroc(own, foreign))
        values[f"ood_fpr95 ({score.__name__})"] = float(metrics.fpr_at_tpr(own, foreign))
    return values
