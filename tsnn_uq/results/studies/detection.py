"""How well each score tells foreign sets from a network's own test set: OpenOOD's table for trained runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch import Tensor, nn

from tsnn_uq.checks import check_choice, check_positive
from tsnn_uq.data import Dataset
from tsnn_uq.detection import DETECTORS, Detector, detection_table, hidden_features, odin_score
from tsnn_uq.experiments.context import use_threads
from tsnn_uq.experiments.inputs import load_splits
from tsnn_uq.experiments.prediction import predict
from tsnn_uq.metrics import functional as metrics
from tsnn_uq.results.studies.inputs import foreign_inputs, own_inputs, settings
from tsnn_uq.results.studies.needed import Runs

if TYPE_CHECKING:
    from pandas import DataFrame

__all__ = ["SCORES", "foreign_detection"]

SCORES = ("entropy", "mutual-information", "max-softmax", "energy", "odin", *DETECTORS)
"""Uncertainty of Monte Carlo predictions; confidence and energy of one pass without masks; and of its features."""


def foreign_detection(
    runs: Runs,
    *,
    near: Sequence[str] = (),
    far: Sequence[str] = (),
    scores: Sequence[str] = SCORES,
    layer: str | None = None,
    inputs: int | None = 2000,
    fitted: int | None = 10_000,
) -> DataFrame:
    """Detection of near and far sets by each score, for the network of each method.

    Args:
        runs: of any methods.
        near: names of data sets, as `tsnn_uq.data.load_test` takes them, that are near the runs' own.
        far: of others.
        scores: of `SCORES`.
        layer: whose features detectors are fitted to; by default what the last layer with weights reads.
        inputs: how many inputs of each test set to draw at most; None for all.
        fitted: how many training inputs to fit to at most; None for all.

    Returns:
        What `tsnn_uq.detection.detection_table` returns for each ``method``.

    Raises:
        InputError: no data set, or one that is unknown or of another shape, or an unknown score.
    """
    import pandas as pd

    for score in scores:
        check_choice("scores", score, SCORES)
    sets = {name: foreign_inputs(runs, name, inputs) for name in (*near, *far)}
    tables = []
    for method, config in settings(runs).items():
        train = load_splits(config, runs.data_dir).train
        if fitted is not None:
            check_positive("fitted", fitted, integer=True)
            train = train.subset(min(fitted, len(train)), seed=config.seed)
        network = runs.network(method)
        with use_threads(config.threads):
            known = hidden_features(network, train, layer, seed=config.seed)
            detectors = {name: DETECTORS[name]().fit(known) for name in scores if name in DETECTORS}

            def measure(dataset: Dataset) -> dict[str, Tensor]:
                return _scores(network, dataset, detectors, scores, layer, config.samples, config.seed)  # noqa: B023

            found = {name: measure(dataset) for name, dataset in sets.items()}
            table = detection_table(measure(own_inputs(runs, inputs)), found, near=near)
        table.insert(0, "method", method)
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


def _scores(
    network: nn.Module,
    dataset: Dataset,
    detectors: dict[str, Detector],
    wanted: Sequence[str],
    layer: str | None,
    samples: int,
    seed: int,
) -> dict[str, Tensor]:
    features = hidden_features(network, dataset, layer, seed=seed)
    found = {name: detector.score(features) for name, detector in detectors.items()}
    if "entropy" in wanted or "mutual-information" in wanted:
        probs = predict(network, dataset, samples=samples, seed=seed)
        found["entropy"] = metrics.predictive_entropy(probs, reduction="none")
        found["mutual-information"] = metrics.mutual_information(probs, reduction="none")
    found["max-softmax"] = metrics.maximum_softmax_score(features.logits.double().softmax(-1))
    found["energy"] = metrics.energy_score(features.logits)
    if "odin" in wanted:
        found["odin"] = odin_score(network, dataset, seed=seed)
    return {name: found[name] for name in wanted}
