"""Variance and standard deviation of the predicted probabilities over Monte Carlo samples."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from tsnn_uq.checks import InputError, check_choice
from tsnn_uq.metrics.base import PerInputMetric
from tsnn_uq.metrics.input_checks import Reduction, as_samples, mean_of_samples, reduce_inputs

__all__ = ["PredictiveStd", "PredictiveVariance", "predictive_std", "predictive_variance"]

Of = Literal["total", "predicted", "classes"]


def _variance(samples: Tensor, of: Of, unbiased: bool) -> Tensor:
    """Variance over S of [S, N, C], as [N] or (of="classes") [N, C]."""
    check_choice("of", of, ["total", "predicted", "classes"])
    if unbiased and len(samples) < 2:
        raise InputError(f"unbiased: expected at least two samples to divide by S - 1; got {len(samples)}")
    mean = mean_of_samples(samples)
    per_class = (samples - mean).square().sum(0) / (len(samples) - unbiased)
    if of == "predicted":
        return per_class.gather(-1, mean.argmax(-1, keepdim=True)).squeeze(-1)
    return per_class.sum(-1) if of == "total" else per_class


def predictive_variance(
    probs: Tensor,
    *,
    of: Of = "total",
    unbiased: bool = False,
    reduction: Reduction = "mean",
    sample_dim: int = 0,
    validate: bool = True,
) -> Tensor:
    r"""Variance over samples of the predicted probabilities, summed over classes.

    .. math:: V = \sum_c \frac1S \sum_s (p_{sc} - \bar p_c)^2

    The population variance (divided by S), so the law of total variance holds for the indicator of each class:
    :math:`\bar p_c (1 - \bar p_c) = \frac1S \sum_s p_{sc} (1 - p_{sc}) + V_c`. Exactly 0 if all samples are equal.

    Args:
        probs: probabilities [S, N, C]: samples, inputs, classes.
        of: "total" sums over the classes; "predicted" is the variance of the class with the highest mean
            probability; "classes" keeps a value per class, [N, C], and reductions run over N alone.
        unbiased: divide by S - 1 instead of S.
        reduction: over the inputs: "mean", "sum", or "none" for a value per input.
        sample_dim: the axis of the samples, if not the first.
        validate: False skips the checks of `probs`.

    Returns:
        A scalar or [N]; [C] or [N, C] with ``of="classes"``. At most 1, unless `unbiased`.

    Raises:
        InputError: `probs` are not probabilities, an option is unknown, `unbiased` with one sample, or the mean of
            no inputs is requested.

    Example:
        >>> predictive_variance(torch.tensor([[[1.0, 0.0]], [[0.5, 0.5]]]))
        tensor(0.1250)
    """
    return reduce_inputs(_variance(as_samples(probs, sample_dim, validate), of, unbiased), reduction)


def predictive_std(
    probs: Tensor,
    *,
    of: Of = "total",
    unbiased: bool = False,
    reduction: Reduction = "mean",
    sample_dim: int = 0,
    validate: bool = True,
) -> Tensor:
    r"""Standard deviation over samples: the square root of each input's `predictive_variance`.

    .. math:: \sigma_n = \sqrt{V_n}, \qquad \text{mean: } \frac1N \sum_n \sqrt{V_n}

    The root is taken per input, *before* the reduction, so the mean is not the root of the mean variance. The
    gradient is 0 where the variance is 0.

    Args and errors are those of `predictive_variance`.

    Returns:
        A scalar or [N]; [C] or [N, C] with ``of="classes"``.

    Example:
        >>> predictive_std(torch.tensor([[[1.0, 0.0], [1.0, 0.0]], [[0.0, 1.0], [1.0, 0.0]]]), reduction="none")
        tensor([0.7071, 0.0000])
    """
    variance = _variance(as_samples(probs, sample_dim, validate), of, unbiased)
    spread = variance > 0
    # The root has no gradient at 0. Without `where`, one input whose samples agree would make the whole gradient NaN.
    return reduce_inputs(torch.where(spread, variance, 1.0).sqrt() * spread, reduction)


class PredictiveVariance(PerInputMetric):
    """Running `predictive_variance`; options as there and in `PerInputMetric`."""

    function = staticmethod(predictive_variance)


class PredictiveStd(PerInputMetric):
    """Running `predictive_std`, the mean of roots; options as there and in `PerInputMetric`."""

    function = staticmethod(predictive_std)
