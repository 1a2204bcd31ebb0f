"""How sure a trained run is on a data set of choice: its own, a shifted one, or a foreign one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor

from tsnn_uq import data
from tsnn_uq.checks import InputError
from tsnn_uq.experiments.config import RunConfig
from tsnn_uq.experiments.run import evaluate, load_network, predict, uncertainty
from tsnn_uq.experiments.sweep import RunProgress
from tsnn_uq.metrics import functional as metrics

__all__ = ["detection", "evaluate_run"]


def evaluate_run(
    folder: Path,
    name: str | None = None,
    *,
    samples: int | None = None,
    seed: int = 0,
    data_dir: Path | None = None,
    progress: RunProgress,
) -> dict[str, Any]:
    """Evaluate a run's network on a data set.

    Args:
        folder: the run folder.
        name: data set, shifted or not; ``None`` for the one the run was trained on.
        samples: Monte Carlo samples S; ``None`` for the run's own.
        seed: seed of the masks.
        data_dir: where the data lie.
        progress: told how many inputs are done.

    Returns:
        On the run's own data set, shifted or not: what `evaluate` returns. On a foreign one, where labels mean
        nothing: the label-free quantities, and how well predictive entropy and mutual information detect it.
    """
    config = RunConfig.load(folder / "config.toml")
    network = load_network(folder)
    name = name or config.data
    samples = samples or config.samples

    def probabilities(dataset: data.Dataset) -> Tensor:
        _check_pixels(network_pixels, dataset)
        return predict(
            network,
            dataset,
            samples=samples,
            seed=seed,
            progress=lambda stage, done, total: progress(dataset.name, stage, done, total),
        )

    own = data.load_test(config.data, data_dir)
    network_pixels = own.images[0].numel()
    dataset = data.load_test(name, data_dir, seed=seed)
    probs = probabilities(dataset)
    values: dict[str, Any] = {"data": name, "inputs": len(dataset), "samples": samples, "steps": config.steps}
    if name.partition(":")[0] == config.data:
        return values | evaluate(probs, dataset.labels, config.bins)
    return values | uncertainty(probs) | detection(probabilities(own), probs)


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


def _check_pixels(pixels: int, dataset: data.Dataset) -> None:
    if dataset.images[0].numel() != pixels:
        raise InputError(
            f"data: expected images of {pixels} pixels, as the run was trained on; "
            f"got {dataset.name} with {list(dataset.images.shape[1:])}"
        )
