"""The numbers that sum up Monte Carlo predictions: how right and how sure a network is."""

from __future__ import annotations

from torch import Tensor

from tsnn_uq.checks import check_labels
from tsnn_uq.metrics import functional as metrics
from tsnn_uq.recalibration import TemperatureScaling

__all__ = ["after_temperature", "evaluate", "uncertainty"]


def evaluate(probs: Tensor, labels: Tensor, bins: int = 15) -> dict[str, float]:
    """The uncertainty of Monte Carlo predictions.

    Args:
        probs: [S, N, C].
        labels: [N].
        bins: bins of the calibration error.

    Returns:
        Accuracy, negative log-likelihood (nats), Brier score and expected calibration error of the mean
        prediction; predictive and expected entropy and mutual information (nats), normalized entropy,
        predictive variance and standard deviation, each the mean over inputs.
    """
    mean = probs.mean(0)
    labels = check_labels("labels", labels, classes=probs.shape[-1], count=len(mean))
    return {
        "accuracy": float((mean.argmax(-1) == labels).double().mean()),
        "nll": float(metrics.negative_log_likelihood(mean, labels)),
        "brier": float(metrics.brier_score(mean, labels)),
        "ece": float(metrics.expected_calibration_error(mean, labels, bins=bins)),
        **uncertainty(probs),
    }


def after_temperature(
    held_out: tuple[Tensor, Tensor], probs: Tensor, labels: Tensor, bins: int = 15
) -> dict[str, float | str | None]:
    """The numbers of `evaluate` once held-out predictions have set a temperature (Guo et al., arXiv 1706.04599).

    Without it a network that only has softer or harder predictions looks more or less sure than another.

    Args:
        held_out: Monte Carlo probabilities [S, M, C] of inputs that nothing else was chosen by, and their labels [M].
        probs: [S, N, C].
        labels: [N].
        bins: bins of the calibration error.

    Returns:
        ``temperature``, above 1 where predictions were too sure of themselves; what `evaluate` gives, each name with
        ``scaled_`` before it; and ``temperature_outcome``, see `tsnn_uq.recalibration.TemperatureScaling`. Where that
        is "flat" the temperature is 1, and every other would be as good. Where it is a bound the values are NaN:
        another bound would give others, so they are no property of the network.
    """
    scaling = TemperatureScaling().fit(*held_out)
    assert scaling.temperature is not None
    assert scaling.outcome is not None
    values = evaluate(scaling.transform(probs), labels, bins)
    scaled = {f"scaled_{name}": None if scaling.at_bound else value for name, value in values.items()}
    return {"temperature": scaling.temperature, **scaled, "temperature_outcome": scaling.outcome}


def uncertainty(probs: Tensor) -> dict[str, float]:
    """The part of `evaluate` that needs no labels."""
    return {
        "predictive_entropy": float(metrics.predictive_entropy(probs)),
        "normalized_entropy": float(metrics.predictive_entropy(probs, normalize=True)),
        "expected_entropy": float(metrics.expected_entropy(probs)),
        "mutual_information": float(metrics.mutual_information(probs)),
        "predictive_variance": float(metrics.predictive_variance(probs)),
        "predictive_std": float(metrics.predictive_std(probs)),
    }
