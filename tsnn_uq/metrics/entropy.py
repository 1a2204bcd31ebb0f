"""Entropy of Monte Carlo predictions: of the mean prediction (total) and mean over samples (aleatoric)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from tsnn_uq.checks import InputError, check_positive
from tsnn_uq.metrics.base import PerInputMetric
from tsnn_uq.metrics.input_checks import Reduction, as_samples, mean_of_samples, reduce_inputs

__all__ = [
    "ExpectedEntropy",
    "PredictiveEntropy",
    "expected_entropy",
    "nats_per_unit",
    "predictive_entropy",
    "surprise",
]


def surprise(probs: Tensor) -> Tensor:
    """-p log p of each entry, in nats; value and gradient are 0 where p is 0 (a softmax that underflows)."""
    return torch.special.entr(torch.where(probs > 0, probs, 1.0))


def nats_per_unit(base: float | None, normalize: bool, classes: int) -> float:
    """The divisor of a value in nats: 1, log `base`, or log `classes` if `normalize`.

    Raises:
        InputError: `base` is not a valid base, or `normalize` is set with one class (log 1 = 0).
    """
    if base is not None:
        check_positive("base", base)
        if base == 1:
            raise InputError("base: expected a positive number other than 1; got 1")
    if normalize:
        if classes == 1:
            raise InputError("normalize: expected at least two classes to divide by log C; got one")
        return math.log(classes)
    return 1.0 if base is None else math.log(base)


def predictive_entropy(
    probs: Tensor,
    *,
    base: float | None = None,
    normalize: bool = False,
    reduction: Reduction = "mean",
    sample_dim: int = 0,
    validate: bool = True,
) -> Tensor:
    r"""Entropy of the mean prediction: the total uncertainty of each input.

    .. math:: H[\bar p] = -\sum_c \bar p_c \log \bar p_c, \qquad \bar p = \frac1S \sum_s p_s

    (Gal 2016, *Uncertainty in Deep Learning*, section 3.3). It is `expected_entropy` + `mutual_information`.

    Args:
        probs: probabilities [S, N, C]: samples, inputs, classes.
        base: base of the logarithm, e.g. 2 for bits; None for nats.
        normalize: divide by log C, so that values lie in [0, 1] (`base` then cancels).
        reduction: over the inputs: "mean", "sum", or "none" for a value per input [N].
        sample_dim: the axis of the samples, if not the first.
        validate: False skips the checks of `probs`.

    Returns:
        A scalar or [N], in nats unless `base` or `normalize` is given; float32 or the dtype of `probs` if wider.

    Raises:
        InputError: `probs` are not probabilities, an option is unknown, or the mean of no inputs is requested.

    Example:
        >>> predictive_entropy(torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]]]), base=2)
        tensor(1.)
    """
    samples = as_samples(probs, sample_dim, validate)
    entropy = surprise(mean_of_samples(samples)).sum(-1)
    return reduce_inputs(entropy / nats_per_unit(base, normalize, samples.shape[-1]), reduction)


def expected_entropy(
    probs: Tensor,
    *,
    base: float | None = None,
    normalize: bool = False,
    reduction: Reduction = "mean",
    sample_dim: int = 0,
    validate: bool = True,
) -> Tensor:
    r"""Mean over samples of the entropy of each: the aleatoric part of `predictive_entropy`.

    .. math:: \mathbb E_s H[p_s] = -\frac1S \sum_s \sum_c p_{sc} \log p_{sc}

    Args and errors are those of `predictive_entropy`.

    Returns:
        A scalar or [N], in nats unless `base` or `normalize` is given.

    Example:
        >>> expected_entropy(torch.tensor([[[1.0, 0.0]], [[0.5, 0.5]]]), base=2)
        tensor(0.5000)
    """
    samples = as_samples(probs, sample_dim, validate)
    entropy = mean_of_samples(surprise(samples)).sum(-1)
    return reduce_inputs(entropy / nats_per_unit(base, normalize, samples.shape[-1]), reduction)


class PredictiveEntropy(PerInputMetric):
    """Running `predictive_entropy`; options as there and in `PerInputMetric`."""

    function = staticmethod(predictive_entropy)


class ExpectedEntropy(PerInputMetric):
    """Running `expected_entropy`; options as there and in `PerInputMetric`."""

    function = staticmethod(expected_entropy)
