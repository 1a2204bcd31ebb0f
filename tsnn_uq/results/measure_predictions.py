"""Measures of Monte Carlo predictions: accuracy, calibration and uncertainty."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from tsnn_uq.checks import check_labels
from tsnn_uq.metrics import functional as metrics
from tsnn_uq.recalibration import TemperatureScaling
from tsnn_uq.results.predictions import Predictions

__all__ = ["after_temperature", "evaluate", "measure_predictions", "uncertainty"]


def evaluate(probs: Tensor, labels: Tensor, bins: int = 15) -> dict[str, float]:
    """Accuracy, calibration and uncertainty of Monte Carlo predictions.

    Args:
        probs: [S, N, C].
        labels: [N].
        bins: number of bins of the calibration error.

    Returns:
        Accuracy, negative log-likelihood (nats), Brier score and expected calibration error of the mean prediction;
        the area under its risk-coverage curve with predictive entropy as the score; and predictive entropy, expected
        entropy and mutual information (nats), normalized entropy, predictive variance and standard deviation, averaged
        over inputs.
    """
    mean = probs.mean(0)
    labels = check_labels("labels", labels, classes=probs.shape[-1], count=len(mean))
    right = mean.argmax(-1) == labels
    return {
        "accuracy": float(right.double().mean()),
        "nll": float(metrics.negative_log_likelihood(mean, labels)),
        "brier": float(metrics.brier_score(mean, labels)),
        "ece": float(metrics.expected_calibration_error(mean, labels, bins=bins)),
        "aurc": float(metrics.aurc(metrics.predictive_entropy(probs, reduction="none"), right)),
        **uncertainty(probs),
    }


def after_temperature(
    held_out: tuple[Tensor, Tensor], probs: Tensor, labels: Tensor, bins: int = 15
) -> dict[str, float | str | None]:
    """The measures of `evaluate` after temperature scaling on held-out predictions (Guo et al., arXiv 1706.04599).

    Without it, networks may differ in uncertainty only because their softmax is softer or harder.

    Args:
        held_out: Monte Carlo probabilities [S, M, C] of inputs that were not used for any other choice, and their
            labels [M].
        probs: [S, N, C].
        labels: [N].
        bins: number of bins of the calibration error.

    Returns:
        ``temperature``, above 1 if predictions were overconfident; the measures of `evaluate` with ``scaled_`` before
        their names; and ``temperature_outcome``, see `tsnn_uq.recalibration.TemperatureScaling`. If the outcome is
        "flat", the temperature is 1, and any other would be as good. If it is a bound, measures are NaN, since they
        would depend on the bound.
    """
    scaling = TemperatureScaling().fit(*held_out)
    assert scaling.temperature is not None
    assert scaling.outcome is not None
    values = _unless_at_bound(scaling, evaluate(scaling.transform(probs), labels, bins))
    scaled = {f"scaled_{name}": value for name, value in values.items()}
    return {"temperature": scaling.temperature, **scaled, "temperature_outcome": scaling.outcome}


def _unless_at_bound(scaling: TemperatureScaling, values: dict[str, float]) -> Mapping[str, float | None]:
    """Values after temperature scaling, or None for each if the temperature is a bound of the search."""
    return dict.fromkeys(values) if scaling.at_bound else values


def uncertainty(probs: Tensor) -> dict[str, float]:
    """The measures of `evaluate` that do not need labels."""
    return {
        "predictive_entropy": float(metrics.predictive_entropy(probs)),
        "normalized_entropy": float(metrics.predictive_entropy(probs, normalize=True)),
        "expected_entropy": float(metrics.expected_entropy(probs)),
        "mutual_information": float(metrics.mutual_information(probs)),
        "predictive_variance": float(metrics.predictive_variance(probs)),
        "predictive_std": float(metrics.predictive_std(probs)),
    }


def measure_predictions(predictions: Predictions, *, bins: int = 15) -> list[dict[str, Any]]:
    """Measures of a network with ``calibration`` ``"none"`` and ``"temperature"``, fitted to its validation part.

    Both are needed, since a term that only softens all predictions changes entropy and variance but no decision.

    Args:
        predictions: predictions of one network, with a validation part.
        bins: number of bins of the calibration error.

    Returns:
        Two rows with ``calibration``, ``temperature`` (1 for none), the measures of `evaluate`, and

        - ``predictive_variance_correct`` and ``predictive_variance_wrong``: means over test inputs that the mean
          prediction classifies correctly or wrongly,
        - ``ood_auroc_...`` and ``ood_fpr95_...`` with the same score, for each foreign set against the test inputs,
        - ``validation_...``: accuracy, variance of correct predictions, negative log-likelihood (nats) and AURC on the
          validation part,
        - ``temperature_outcome``, see `tsnn_uq.recalibration.TemperatureScaling`. If a temperature ended at a bound,
          all measures with it are NaN, since they would depend on the bound.

    Raises:
        InputError: there is no validation part.
    """
    rows = []
    held_out_probs, targets = predictions.part("validation").pair
    scaling = TemperatureScaling().fit(held_out_probs, targets)
    for calibration in ("none", "temperature"):
        scaled = scaling.transform if calibration == "temperature" else lambda probs: probs
        probs, labels = scaled(predictions.test.probs), predictions.test.pair[1]
        row: dict[str, Any] = {"calibration": calibration}
        row["temperature"] = scaling.temperature if calibration == "temperature" else 1.0
        values = evaluate(probs, labels, bins) | _variances(probs, labels)
        known = metrics.predictive_entropy(probs, reduction="none")
        for name, outside in predictions.foreign.items():
            unknown = metrics.predictive_entropy(scaled(outside.probs), reduction="none")
            values[f"ood_auroc_{name}"] = float(metrics.ood_auroc(known, unknown))
            values[f"ood_fpr95_{name}"] = float(metrics.fpr_at_tpr(known, unknown))
        held_out = scaled(held_out_probs)
        on_validation = evaluate(held_out, targets, bins) | _variances(held_out, targets)
        for name in ("accuracy", "nll", "predictive_variance_correct", "aurc"):
            values[f"validation_{name}"] = on_validation[name]
        row |= _unless_at_bound(scaling, values) if calibration == "temperature" else values
        row["temperature_outcome"] = scaling.outcome if calibration == "temperature" else "none"
        rows.append(row)
    return rows


def _variances(probs: Tensor, labels: Tensor) -> dict[str, float]:
    """Variance of correct and of wrong predictions, NaN if there are none."""
    variance = metrics.predictive_variance(probs, reduction="none").double()
    right = probs.mean(0).argmax(-1) == labels
    return {
        "predictive_variance_correct": float(variance[right].mean()),
        "predictive_variance_wrong": float(variance[~right].mean()),
    }
