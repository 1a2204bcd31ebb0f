"""Epistemic uncertainty: mutual information and expected pairwise divergence of Monte Carlo samples."""

from __future__ import annotations

import torch
from torch import Tensor

from tsnn_uq.metrics.base import PerInputMetric
from tsnn_uq.metrics.entropy import nats_per_unit, surprise
from tsnn_uq.metrics.input_checks import Reduction, as_samples, mean_of_samples, reduce_inputs

__all__ = ["ExpectedPairwiseKl", "MutualInformation", "expected_pairwise_kl", "mutual_information"]


def mutual_information(
    probs: Tensor,
    *,
    base: float | None = None,
    normalize: bool = False,
    reduction: Reduction = "mean",
    sample_dim: int = 0,
    validate: bool = True,
) -> Tensor:
    r"""Predictive minus expected entropy: the epistemic part, zero where all samples agree (BALD).

    .. math:: I = H[\bar p] - \mathbb E_s H[p_s]

    (Houlsby et al. 2011, arXiv 1112.5745; Gal 2016). Clamped at 0 for each input, before any reduction; exactly 0
    if all samples are equal. At most log min(S, C). Args and errors are those of
    `tsnn_uq.metrics.functional.predictive_entropy`.

    Returns:
        A scalar or [N], in nats unless `base` or `normalize` is given.

    Example:
        >>> mutual_information(torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]]]), base=2)
        tensor(1.)
    """
    samples = as_samples(probs, sample_dim, validate)
    # The difference is taken per class, so that equal samples cancel exactly in any order of summation.
    gain = surprise(mean_of_samples(samples)) - mean_of_samples(surprise(samples))
    information = gain.sum(-1).clamp_min(0)
    return reduce_inputs(information / nats_per_unit(base, normalize, samples.shape[-1]), reduction)


def expected_pairwise_kl(
    probs: Tensor,
    *,
    base: float | None = None,
    reduction: Reduction = "mean",
    sample_dim: int = 0,
    validate: bool = True,
) -> Tensor:
    r"""Mean Kullback-Leibler divergence between two different samples, an upper bound of the mutual information.

    .. math:: K = \frac1{S(S-1)} \sum_{i \ne j} \sum_c p_{ic} \log \frac{p_{ic}}{p_{jc}}
                = \sum_c \frac1{S-1} \sum_i (p_{ic} - \bar p_c)(\log p_{ic} - \overline{\log p}_c)

    (Malinin and Gales 2021, arXiv 2002.07650, there over all pairs). The right-hand side, a covariance, is computed:
    it has S terms instead of S^2, and no cancellation. S = 1 gives 0.

    Zeros are not smoothed: 0 log 0 = 0, and a class with probability 0 in one sample and more in another makes the
    value, and the mean over inputs, infinite. Args and errors are those of
    `tsnn_uq.metrics.functional.predictive_entropy` (no `normalize`: there is no upper bound to divide by).

    Returns:
        A scalar or [N], in nats unless `base` is given; 0 or more, possibly infinite.

    Example:
        >>> expected_pairwise_kl(torch.tensor([[[0.5, 0.5]], [[0.25, 0.75]]]))
        tensor(0.1373)
    """
    samples = as_samples(probs, sample_dim, validate)
    positive = samples > 0
    logs = torch.where(positive, samples, 1.0).log()
    products = (samples - mean_of_samples(samples)) * (logs - mean_of_samples(logs))
    covariance = products.sum(0) / max(len(samples) - 1, 1)
    covariance = torch.where(positive.any(0) & ~positive.all(0), torch.inf, covariance)
    divergence = covariance.sum(-1).clamp_min(0)
    return reduce_inputs(divergence / nats_per_unit(base, False, samples.shape[-1]), reduction)


class MutualInformation(PerInputMetric):
    """Running `mutual_information`; options as there and in `PerInputMetric`."""

    function = staticmethod(mutual_information)


class ExpectedPairwiseKl(PerInputMetric):
    """Running `expected_pairwise_kl`; options as there and in `PerInputMetric`."""

    function = staticmethod(expected_pairwise_kl)
