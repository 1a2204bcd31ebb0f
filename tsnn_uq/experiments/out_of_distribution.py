"""How sure a trained run is on a data set of choice: its own, a shifted one, or a foreign one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor

from tsnn_uq import data
from tsnn_uq.checks import InputError
from tsnn_uq.engine import Engine
from tsnn_uq.experiments.config import RunConfig
from tsnn_uq.experiments.folder import load_network
from tsnn_uq.experiments.inputs import is_kindred, load_test
from tsnn_uq.experiments.measure import Progress, evaluate, predict, silent, uncertainty
from tsnn_uq.experiments.run import use_threads
from tsnn_uq.metrics import functional as metrics

__all__ = ["detection", "evaluate_run"]


def evaluate_run(
    folder: Path,
    name: str | None = None,
    *,
    samples: int | None = None,
    seed: int | None = None,
    engine: bool = False,
    data_dir: Path | None = None,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Evaluate a run's network on a data set.

    Args:
        folder: the run folder.
        name: data set, shifted or not; ``None`` for the one the run was trained on.
        samples: Monte Carlo samples S; ``None`` for the run's own.
        seed: seed of the masks, and of a shift's noise; ``None`` for the run's own masks, and the same noise for
            all runs.
        engine: whether to run it in the ternary engine (`tsnn_uq.engine`), from the same masks.
        data_dir: where the data lie.
        progress: told how many inputs are done.

    Returns:
        On the run's own data set, shifted or not: what `evaluate` returns. On a foreign one, where labels mean
        nothing: the label-free quantities, and how well predictive entropy and mutual information detect it.

    Raises:
        InputError: no trained run in the folder, an unknown data set, or images of another size.
    """
    network, config = load_network(folder), RunConfig.load(folder / "config.toml")
    name = config.data if name is None else name
    samples = config.samples if samples is None else samples
    dataset = load_test(config, name, data_dir, seed=seed or 0)
    foreign = name.partition(":")[0] != config.data and not is_kindred(config.data, name)
    own = load_test(config, config.data, data_dir) if foreign else dataset
    if dataset.shape != own.shape:
        wanted = f"inputs of shape {list(own.shape)}, as the run was trained on"
        raise InputError(f"data: expected {wanted}; got {list(dataset.shape)}")
    inputs = len(dataset) + len(own) * foreign
    model = Engine(network, dataset.shape) if engine else network

    def probabilities(images: data.Dataset, before: int = 0) -> Tensor:
        return predict(
            model,
            images,
            samples=samples,
            seed=config.seed if seed is None else seed,
            progress=lambda stage, done, _: progress(stage, before + done, inputs),
        )

    with use_threads(config.threads):
        probs = probabilities(dataset)
        values: dict[str, Any] = {"data": name, "inputs": len(dataset), "samples": samples, "steps": config.steps}
        if foreign:
            return values | uncertainty(probs) | detection(probabilities(own, before=len(dataset)), probs)
        return values | evaluate(probs, dataset.labels, config.bins)


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
