"""Detection of foreign sets by each score, as in OpenOOD, for trained runs or given predictions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from torch import Tensor, nn

from tsnn_uq.checks import InputError, check_choice, check_positive
from tsnn_uq.data import Dataset
from tsnn_uq.detection import DETECTORS, Detector, Features, detection_table, hidden_features, odin_score
from tsnn_uq.devices import use_threads
from tsnn_uq.experiments.evaluation import predict
from tsnn_uq.experiments.inputs import load_splits
from tsnn_uq.metrics import functional as metrics
from tsnn_uq.results.predictions import NamedPredictions, Part
from tsnn_uq.results.studies.run_inputs import foreign_inputs, own_inputs, run_settings
from tsnn_uq.results.studies.run_selection import Runs, RunsOrPredictions

if TYPE_CHECKING:
    from pandas import DataFrame

__all__ = ["SCORES", "foreign_detection"]

SCORES = ("entropy", "mutual-information", "max-softmax", "energy", "odin", *DETECTORS)
"""Scores of Monte Carlo predictions, of one pass without masks, and detectors on its features."""


def foreign_detection(
    source: RunsOrPredictions,
    *,
    near: Sequence[str] = (),
    far: Sequence[str] = (),
    scores: Sequence[str] = (),
    layer: str | None = None,
    inputs: int | None = 2000,
    fitted: int | None = 10_000,
) -> DataFrame:
    """Detection of near and far sets by each score, for the network of each method.

    The networks of runs predict again. With given predictions, energy and ViM need logits. Detectors need features, and
    features of training inputs (or else of the validation part) to be fitted to. ODIN needs the network, so it is not
    available.

    Args:
        source: runs of any methods; or predictions, of which the first seed is used.
        near: names of near data sets, as for `tsnn_uq.data.load_test`; or of foreign sets of the predictions.
        far: names of far data sets. If `near` and `far` are empty, all foreign sets of the predictions are far.
        scores: names in `SCORES`; by default all, or those that can be computed from the predictions of all networks.
        layer: for runs, the layer whose features detectors use; by default the input of the last layer with weights.
        inputs: for runs, largest number of inputs per test set; None for all.
        fitted: for runs, largest number of training inputs to fit to; None for all.

    Returns:
        The table of `tsnn_uq.detection.detection_table` for each ``method``.

    Raises:
        InputError: there is no data set, a data set is unknown or has another shape, or a score is unknown.
    """
    import pandas as pd

    for score in scores:
        check_choice("scores", score, SCORES)
    if isinstance(source, NamedPredictions):
        found_of = _from_predictions(source, near, far, scores)
    else:
        found_of = _from_runs(source, (*near, *far), scores or SCORES, layer, inputs, fitted)
    tables = []
    for method, own, found in found_of:
        table = detection_table(own, found, near=near)
        table.insert(0, "method", method)
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


Scores = dict[str, Tensor]
"""Scores of inputs [N] by name, high for foreign inputs."""


def _from_predictions(
    networks: NamedPredictions, near: Sequence[str], far: Sequence[str], scores: Sequence[str]
) -> Iterator[tuple[str, Scores, dict[str, Scores]]]:
    """Scores of given predictions, one network after the other."""
    members = networks.first()
    for name in (*near, *far):
        networks.foreign(name)  # raises if there are none
    sets = (*near, *far) or networks.foreign_names
    parts = {name: [of.test, *(of.part(f"foreign_{one}") for one in sets)] for name, of in members.items()}
    fits = {name: of.train if of.train is not None else of.validation for name, of in members.items()}
    wanted = scores or [
        one for one in SCORES if not any(_missing_input(one, fits[name], parts[name]) for name in members)
    ]
    for name in members:
        for score in wanted:
            lacking = _missing_input(score, fits[name], parts[name])
            if lacking:
                raise InputError(f"scores: expected {lacking} of {name} for {score}; got none")
        fit = fits[name]
        detectors: dict[str, Detector] = {}
        if fit is not None and fit.features is not None:
            detectors = {one: DETECTORS[one]().fit(_features(fit)) for one in wanted if one in DETECTORS}
        own, *others = (_of_part(part, detectors, wanted) for part in parts[name])
        yield name, own, dict(zip(sets, others, strict=True))


def _missing_input(score: str, fit: Part | None, parts: Sequence[Part]) -> str:
    """What a score needs and predictions lack; empty if nothing is missing."""
    if score == "odin":
        return "the network itself, not predictions"
    if score in DETECTORS:
        if any(part.features is None for part in parts):
            return "features of the test inputs and of each foreign set"
        if fit is None or fit.features is None:
            return "train_features or validation_features"
        parts = [*parts, fit]
    return "logits" if score in ("energy", "vim") and any(part.logits is None for part in parts) else ""


def _features(part: Part) -> Features:
    assert part.features is not None
    logits = part.probs.mean(0).log().clamp(min=-1e4) if part.logits is None else part.logits
    return Features(part.features, logits, part.labels)


def _of_part(part: Part, detectors: dict[str, Detector], wanted: Sequence[str]) -> Scores:
    found = {name: detector.score(_features(part)) for name, detector in detectors.items()}
    found["entropy"] = metrics.predictive_entropy(part.probs, reduction="none")
    found["mutual-information"] = metrics.mutual_information(part.probs, reduction="none")
    found["max-softmax"] = metrics.maximum_softmax_score(part.probs.double().mean(0))
    if part.logits is not None:
        found["energy"] = metrics.energy_score(part.logits)
    return {name: found[name] for name in wanted}


def _from_runs(
    runs: Runs, names: Sequence[str], scores: Sequence[str], layer: str | None, inputs: int | None, fitted: int | None
) -> Iterator[tuple[str, Scores, dict[str, Scores]]]:
    """Scores of the runs' networks, one after the other."""
    sets = {name: foreign_inputs(runs, name, inputs) for name in names}
    for method, config in run_settings(runs).items():
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
            own = measure(own_inputs(runs, inputs))
        yield method, own, found


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
