"""The reliability curve, and the decomposition of the Brier score."""

from __future__ import annotations

from statistics import NormalDist
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torchmetrics import Metric

from tsnn_uq.checks import check_fraction, check_positive
from tsnn_uq.metrics.bins import BinnedMetric, bin_sums, weights_and_gaps
from tsnn_uq.metrics.input_checks import mean_prediction
from tsnn_uq.metrics.proper_scores import brier_score

__all__ = [
    "BrierDecomposition",
    "BrierParts",
    "ReliabilityBins",
    "ReliabilityCurve",
    "brier_decomposition",
    "reliability_curve",
]


class ReliabilityBins(NamedTuple):
    """The points of a reliability curve, float64 [bins] each; empty bins have NaN and count 0."""

    edges: Tensor  #: [bins + 1]
    confidence: Tensor  #: mean confidence
    accuracy: Tensor  #: share of hits
    count: Tensor  # type: ignore[assignment]  #: number of inputs (int64); replaces tuple.count
    low: Tensor  #: lower end of the accuracy's Wilson interval
    high: Tensor  #: upper end


def _reliability(sums: Tensor, level: float = 0.95) -> ReliabilityBins:
    check_fraction("level", level, below_one=True)
    check_positive("level", level)
    weights_and_gaps(sums)  # raises if N = 0
    count, confidence, hits = sums.squeeze(1)
    accuracy = hits / count  # NaN in empty bins, like all values computed from it
    z = NormalDist().inv_cdf((1 + level) / 2)
    centre = (hits + z**2 / 2) / (count + z**2)
    half = z * (count * accuracy * (1 - accuracy) + z**2 / 4).sqrt() / (count + z**2)
    low, high = (centre - half).clamp_min(0), (centre + half).clamp_max(1)
    edges = torch.arange(len(count) + 1, dtype=torch.float64, device=sums.device) / len(count)
    return ReliabilityBins(edges, confidence / count, accuracy, count.long(), low, high)


def reliability_curve(
    probs: Tensor, target: Tensor, bins: int = 15, *, level: float = 0.95, validate: bool = True
) -> ReliabilityBins:
    """Accuracy against confidence of the predicted class, with a confidence interval for each bin.

    The interval is Wilson's (1927) for a binomial share; the confidence is a mean, not the middle of the bin.

    Args:
        probs: probabilities [N, C].
        target: class numbers [N].
        bins: number of bins of equal width on [0, 1].
        level: coverage of the interval, above 0 and below 1.
        validate: False skips the checks of the inputs.

    Returns:
        `ReliabilityBins`; empty bins are NaN, so that plots do not show them as calibrated.

    Raises:
        InputError: as `expected_calibration_error`, or `level` is outside (0, 1).

    Example:
        >>> reliability_curve(torch.tensor([[0.75, 0.25], [0.75, 0.25]]), torch.tensor([0, 1]), bins=2).accuracy
        tensor([   nan, 0.5000], dtype=torch.float64)
    """
    return _reliability(bin_sums(probs, target, bins, validate=validate), level)


class BrierParts(NamedTuple):
    """`brier_score` = reliability - resolution + uncertainty + within_bins, as float64 scalars."""

    reliability: Tensor  #: miscalibration of the binned forecast, 0 at best
    resolution: Tensor  #: variance of the bins' frequencies around the overall ones, `uncertainty` at best
    uncertainty: Tensor  #: of the labels alone
    within_bins: Tensor  #: the part that binning hides, of either sign; 0 if forecasts agree within each bin


def _parts(sums: Tensor, score: Tensor) -> BrierParts:
    weight, gap = weights_and_gaps(sums)
    count, _, hits = sums
    rate = hits.sum(-1) / count.sum(-1)
    reliability = (weight * gap.square()).sum()
    resolution = (weight * (hits / count.clamp_min(1) - rate[:, None]).square()).sum()
    uncertainty = (rate * (1 - rate)).sum()
    return BrierParts(
        reliability, resolution, uncertainty, score / count[0].sum() - (reliability - resolution + uncertainty)
    )


def brier_decomposition(probs: Tensor, target: Tensor, bins: int = 15, *, validate: bool = True) -> BrierParts:
    r"""Murphy's (1973) decomposition of the Brier score, over equal-width bins of each class's probability.

    .. math:: \mathrm{BS} = \sum_c \Big[ \sum_b \frac{n_{bc}}{N} (\bar p_{bc} - \bar o_{bc})^2
              - \sum_b \frac{n_{bc}}{N} (\bar o_{bc} - \bar o_c)^2 + \bar o_c (1 - \bar o_c) \Big] + W

    with mean probability p, share o of inputs that are class c. Without W it is the score of the *binned* forecast,
    each probability replaced by the mean of its bin. W is the variance of the probabilities within bins, minus twice
    their covariance with the truth (Stephenson et al. 2008). All four are summed over classes, as in `brier_score`.

    Args and errors are those of `reliability_curve`.

    Returns:
        `BrierParts`.

    Example:
        >>> probs = torch.tensor([[0.75, 0.25], [0.75, 0.25], [0.25, 0.75], [0.25, 0.75]])
        >>> [round(part.item(), 3) for part in brier_decomposition(probs, torch.tensor([0, 0, 1, 0]), bins=4)]
        [0.125, 0.125, 0.375, 0.0]
    """
    sums = bin_sums(probs, target, bins, "classes", validate)
    return _parts(sums, brier_score(probs.detach().double(), target, reduction="sum", validate=False))


class ReliabilityCurve(BinnedMetric):
    """Running `reliability_curve`; options as there and in `BinnedMetric`."""

    function = staticmethod(reliability_curve)
    statistic = staticmethod(_reliability)
    higher_is_better = None
    plot = Metric.plot  # the value is a curve


class BrierDecomposition(BinnedMetric):
    """Running `brier_decomposition`; options as in `BinnedMetric`."""

    function = staticmethod(brier_decomposition)
    of = "classes"
    higher_is_better = None
    plot = Metric.plot  # the value is four numbers
    score: Tensor

    def __init__(self, bins: int = 15, **options: Any) -> None:
        super().__init__(bins, **options)
        self.add_state("score", torch.tensor(0.0, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, probs: Tensor, target: Tensor) -> None:
        """Add `probs` [N, C] (or [S, N, C], whose mean is taken) and `target` [N]."""
        super().update(probs, target)
        probs = mean_prediction(probs, self.sample_dim, validate=False).double()
        self.score = self.score + brier_score(probs, target, reduction="sum", validate=False)

    def compute(self) -> BrierParts:
        """The parts for all inputs seen."""
        self._require(bool(self.sums[0].sum() > 0))
        return _parts(self.sums, self.score)
