"""Disagreement of the classes that the Monte Carlo samples predict."""

from __future__ import annotations

import torch
from torch import Tensor

from tsnn_uq.metrics.base import PerInputMetric
from tsnn_uq.metrics.input_checks import Reduction, as_samples, reduce_inputs

__all__ = ["PairwiseDisagreement", "VariationRatio", "pairwise_disagreement", "variation_ratio"]


def _votes(samples: Tensor) -> Tensor:
    """Number of samples that predict each class: [S, N, C] -> [N, C]; of tied classes, the first is predicted."""
    predicted = samples.argmax(-1).T
    counts = torch.zeros(samples.shape[1:], dtype=samples.dtype, device=samples.device)
    return counts.scatter_add(1, predicted, torch.ones_like(predicted, dtype=samples.dtype))


def variation_ratio(
    probs: Tensor, *, reduction: Reduction = "mean", sample_dim: int = 0, validate: bool = True
) -> Tensor:
    r"""Share of the samples that do not predict the most frequent class.

    .. math:: v = 1 - \frac{f_m}{S}, \qquad f_m = \max_c \#\{s : \arg\max p_s = c\}

    (Freeman 1965; Gal 2016, section 3.3). Between 0 and 1 - 1 / min(S, C).

    Args:
        probs: probabilities [S, N, C]: samples, inputs, classes. Of equally probable classes the first is predicted.
        reduction: over the inputs: "mean", "sum", or "none" for a value per input [N].
        sample_dim: the axis of the samples, if not the first.
        validate: False skips the checks of `probs`.

    Returns:
        A scalar or [N].

    Raises:
        InputError: `probs` are not probabilities, an option is unknown, or the mean of no inputs is requested.

    Example:
        >>> variation_ratio(torch.tensor([[[0.9, 0.1]], [[0.6, 0.4]], [[0.2, 0.8]], [[0.7, 0.3]]]))
        tensor(0.2500)
    """
    samples = as_samples(probs, sample_dim, validate)
    return reduce_inputs((len(samples) - _votes(samples).amax(-1)) / len(samples), reduction)


def pairwise_disagreement(
    probs: Tensor, *, reduction: Reduction = "mean", sample_dim: int = 0, validate: bool = True
) -> Tensor:
    r"""Share of the unordered pairs of samples that predict different classes.

    .. math:: d = 1 - \frac{\sum_c f_c (f_c - 1)}{S (S - 1)}, \qquad f_c = \#\{s : \arg\max p_s = c\}

    (the disagreement measure of Skalak 1996). One sample has no pair and gives 0.

    Args and errors are those of `variation_ratio`.

    Returns:
        A scalar or [N], between 0 and 1.

    Example:
        >>> pairwise_disagreement(torch.tensor([[[0.9, 0.1]], [[0.6, 0.4]], [[0.2, 0.8]], [[0.7, 0.3]]]))
        tensor(0.5000)
    """
    samples = as_samples(probs, sample_dim, validate)
    votes, pairs = _votes(samples), len(samples) * (len(samples) - 1)
    return reduce_inputs((pairs - (votes * (votes - 1)).sum(-1)) / max(pairs, 1), reduction)


class VariationRatio(PerInputMetric):
    """Running `variation_ratio`; options as in `PerInputMetric`."""

    function = staticmethod(variation_ratio)
    is_differentiable = False


class PairwiseDisagreement(PerInputMetric):
    """Running `pairwise_disagreement`; options as in `PerInputMetric`."""

    function = staticmethod(pairwise_disagreement)
    is_differentiable = False
