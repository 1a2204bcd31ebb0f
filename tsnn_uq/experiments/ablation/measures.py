"""What is measured of each run, as it is and after its temperature was set, on known and on foreign inputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from torch import Tensor

from tsnn_uq import data
from tsnn_uq.engine import Engine
from tsnn_uq.experiments import Settings, evaluate, predict, read_predictions
from tsnn_uq.experiments.context import use_threads
from tsnn_uq.experiments.storage import load_sized_network
from tsnn_uq.files import read_json, write_json
from tsnn_uq.metrics import functional as metrics
from tsnn_uq.recalibration import TemperatureScaling

__all__ = [
    "Predictions",
    "foreign_set",
    "is_measured",
    "keep_measured",
    "measure_predictions",
    "measure_run",
    "predict_run",
    "read_measured",
]

_FILE = "uncertainty.json"
FOREIGN_INPUTS = 2000  # of each, drawn once for all runs


@dataclass(frozen=True)
class Predictions:
    """Monte Carlo probabilities [S, N, C] of a network, and labels [N] where there are any."""

    validation: tuple[Tensor, Tensor]
    test: tuple[Tensor, Tensor]
    foreign: Mapping[str, Tensor]


def is_measured(folder: Path) -> bool:
    """Whether a folder holds the rows of a run or of a posterior."""
    return (folder / _FILE).exists()


def keep_measured(folder: Path, rows: list[dict[str, Any]], **more: Any) -> None:
    """Keep rows in their folder, each with more columns."""
    write_json(folder / _FILE, {"rows": [row | more for row in rows]})


def read_measured(folder: Path, **before: Any) -> list[dict[str, Any]]:
    """The rows that a folder holds, each with columns put before the others."""
    return [{**before, **row} for row in read_json(folder / _FILE)["rows"]]


def measure_run(
    config: Settings, folder: str | Path, foreign: Mapping[str, str], *, data_dir: str | Path | None = None
) -> list[dict[str, Any]]:
    """Two rows of a finished run, by the network that a user loads from its folder.

    Args:
        config: the run.
        folder: its folder.
        foreign: name in a column -> out-of-distribution set, as `tsnn_uq.data.load_test` takes it.
        data_dir: where the data lie.

    Returns:
        What `measure_predictions` gives.
    """
    return measure_predictions(predict_run(config, folder, foreign, data_dir=data_dir), bins=config.bins)


def predict_run(
    config: Settings, folder: str | Path, foreign: Mapping[str, str], *, data_dir: str | Path | None = None
) -> Predictions:
    """Predict foreign inputs; the test set and the validation part were predicted by the run itself."""
    network, size = load_sized_network(folder)
    model = network if config.method.name == "float" else Engine(network, size["shape"])
    with use_threads(config.threads):
        outside = {
            name: predict(model, foreign_set(of, data_dir), samples=config.samples, seed=config.seed)
            for name, of in foreign.items()
        }
    return Predictions(read_predictions(folder, "validation"), read_predictions(folder), outside)


@cache
def foreign_set(name: str, data_dir: str | Path | None) -> data.Dataset:
    """The inputs of a foreign set; kept, since a process measures many runs and letters take seconds to draw."""
    dataset = data.load_test(name, data_dir)
    return dataset.subset(min(FOREIGN_INPUTS, len(dataset)))


def measure_predictions(predictions: Predictions, *, bins: int = 15) -> list[dict[str, Any]]:
    """A network's numbers with ``calibration`` ``"none"``, and ``"temperature"``, which is set on its validation part.

    Both are needed: a term that only softens all predictions changes entropy and variance, and no decision.

    Args:
        predictions: of one network.
        bins: bins of the calibration error.

    Returns:
        Two rows with ``calibration``, ``temperature`` (1 for none), what `tsnn_uq.experiments.evaluation` gives,
        ``predictive_variance_correct`` and ``..._wrong``: the mean over test inputs that the mean prediction gets right
        or wrong, ``aurc`` with predictive entropy as the score, ``ood_auroc_...`` and ``ood_fpr95_...`` with the same
        score, test inputs against each foreign set, and ``validation_...``: accuracy, variance of right predictions,
        negative log-likelihood (nats) and AURC on the validation part; and ``temperature_outcome``, see
        `tsnn_uq.recalibration.TemperatureScaling`. Where a temperature ended at a bound all that was measured with it
        is NaN, since another bound would give other numbers.
    """
    rows = []
    scaling = TemperatureScaling().fit(*predictions.validation)
    for calibration in ("none", "temperature"):
        scaled = scaling.transform if calibration == "temperature" else _as_they_are
        probs, labels = scaled(predictions.test[0]), predictions.test[1]
        row: dict[str, Any] = {"calibration": calibration}
        row["temperature"] = scaling.temperature if calibration == "temperature" else 1.0
        row |= evaluate(probs, labels, bins) | _risk(probs, labels)
        known = metrics.predictive_entropy(probs, reduction="none")
        for name, outside in predictions.foreign.items():
            unknown = metrics.predictive_entropy(scaled(outside), reduction="none")
            row[f"ood_auroc_{name}"] = float(metrics.ood_auroc(known, unknown))
            row[f"ood_fpr95_{name}"] = float(metrics.fpr_at_tpr(known, unknown))
        held_out, targets = scaled(predictions.validation[0]), predictions.validation[1]
        row["validation_accuracy"] = float(metrics.accuracy(held_out.mean(0), targets))
        row["validation_nll"] = float(metrics.negative_log_likelihood(held_out.mean(0), targets))
        risk = _risk(held_out, targets)
        row |= {f"validation_{name}": risk[name] for name in ("predictive_variance_correct", "aurc")}
        if calibration == "temperature" and scaling.at_bound:
            row |= dict.fromkeys(row.keys() - {"calibration", "temperature"})
        row["temperature_outcome"] = scaling.outcome if calibration == "temperature" else "none"
        rows.append(row)
    return rows


def _as_they_are(probs: Tensor) -> Tensor:
    return probs


def _risk(probs: Tensor, labels: Tensor) -> dict[str, float]:
    """Variance of right and of wrong predictions (NaN for none), and the area under the risk-coverage curve."""
    variance = metrics.predictive_variance(probs, reduction="none").double()
    mean = probs.mean(0)
    right = mean.argmax(-1) == labels
    return {
        "predictive_variance_correct": float(variance[right].mean()),
        "predictive_variance_wrong": float(variance[~right].mean()),
        "aurc": float(metrics.aurc(metrics.predictive_entropy(probs, reduction="none"), right)),
    }
