"""Binned calibration errors and the reliability curve.

Bins have equal width and are [lo, hi), the last one closed: numpy's and netcal's convention, in which confidence 0 and
confidence 1 both belong to a bin. (Guo et al. 2017 bin (lo, hi] and lose 0; torchmetrics gives 1 a bin of its own.)
Every binned error depends on the number of bins and of inputs, and all but the debiased one are biased upward.
Values are float64. Metrics of the same bins share one state in a `torchmetrics.MetricCollection`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor

from tsnn_uq.checks import InputError, check_positive
from tsnn_uq.metrics.base import UncertaintyMetric, as_forecast, mean_prediction

__all__ = [
    "BinnedMetric",
    "DebiasedCalibrationError",
    "ExpectedCalibrationError",
    "MaximumCalibrationError",
    "RmsCalibrationError",
    "all_class_sums",
    "debiased_calibration_error",
    "expected_calibration_error",
    "expected_gap",
    "maximum_calibration_error",
    "rms_calibration_error",
    "top_label_sums",
    "weights_and_gaps",
]


def _bin_sums(confidence: Tensor, hit: Tensor, bins: int) -> Tensor:
    """Count, sum of confidences and number of hits in each bin: [N, G], [N, G] -> float64 [3, G, bins]."""
    # i / bins is correctly rounded, so the literal 0.3 opens the fourth of ten bins (numpy's linspace has 3 * 0.1).
    edges = torch.arange(1, bins, dtype=torch.float64, device=confidence.device) / bins
    confidence = confidence.detach().double().T.contiguous()
    index = torch.bucketize(confidence, edges, right=True)
    values = torch.stack([torch.ones_like(confidence), confidence, hit.T.double()])
    return values.new_zeros(3, len(confidence), bins).scatter_add(2, index.expand_as(values), values)


def top_label_sums(probs: Tensor, target: Tensor, bins: int, validate: bool = True) -> Tensor:
    """Bin sums [3, 1, bins] of the highest probability and whether its class is true (of tied classes, the first)."""
    check_positive("bins", bins, integer=True)
    probs, target = as_forecast(probs, target, validate)
    confidence, predicted = probs.max(-1, keepdim=True)
    return _bin_sums(confidence, predicted == target[:, None], bins)


def all_class_sums(probs: Tensor, target: Tensor, bins: int, validate: bool = True) -> Tensor:
    """Bin sums [3, C, bins] of each class's probability and whether that class is true."""
    check_positive("bins", bins, integer=True)
    probs, target = as_forecast(probs, target, validate)
    return _bin_sums(probs, torch.nn.functional.one_hot(target, probs.shape[-1]), bins)


def weights_and_gaps(sums: Tensor) -> tuple[Tensor, Tensor]:
    """Share of the inputs in each bin, and mean confidence minus share of hits (0 in an empty bin): [G, bins]."""
    count, confidence, hits = sums
    if count.sum() == 0:
        raise InputError("probs: expected at least one input to measure calibration on; got none (N = 0)")
    return count / count.sum(-1, keepdim=True), (confidence - hits) / count.clamp_min(1)


def expected_gap(sums: Tensor) -> Tensor:
    """Mean over groups of the weighted mean gap."""
    weight, gap = weights_and_gaps(sums)
    return (weight * gap.abs()).sum(-1).mean()


def _maximum(sums: Tensor) -> Tensor:
    return weights_and_gaps(sums)[1].abs().max()


def _rms(sums: Tensor) -> Tensor:
    weight, gap = weights_and_gaps(sums)
    return (weight * gap.square()).sum().sqrt()


def _debiased(sums: Tensor, squared: bool = False) -> Tensor:
    weight, gap = weights_and_gaps(sums)
    count, _, hits = sums
    accuracy = hits / count.clamp_min(1)
    error = gap.square() - accuracy * (1 - accuracy) / (count - 1).clamp_min(1)
    # One input tells nothing about the spread of its bin: such a bin counts as 0, as in the authors' code.
    total = (weight * error * (count > 1)).sum()
    return total if squared else total.clamp_min(0).sqrt()


def expected_calibration_error(probs: Tensor, target: Tensor, bins: int = 15, *, validate: bool = True) -> Tensor:
    r"""Mean distance between confidence and accuracy of the predicted class, over equal-width bins.

    .. math:: \mathrm{ECE} = \sum_b \frac{n_b}{N} \left| \mathrm{acc}_b - \mathrm{conf}_b \right|

    (Naeini et al. 2015; Guo et al. 2017, arXiv 1706.04599). Of Monte Carlo samples, give the mean prediction.

    Args:
        probs: probabilities [N, C].
        target: class numbers [N].
        bins: number of bins of equal width on [0, 1]; report it, and N, with every value.
        validate: False skips the checks of the inputs.

    Returns:
        A float64 scalar between 0 and 1.

    Raises:
        InputError: `probs` holds no probabilities, `target` no labels of their classes, `bins` is no positive whole
            number, or there are no inputs.

    Example:
        >>> expected_calibration_error(torch.tensor([[0.75, 0.25], [0.75, 0.25]]), torch.tensor([0, 1]))
        tensor(0.2500, dtype=torch.float64)
    """
    return expected_gap(top_label_sums(probs, target, bins, validate))


def maximum_calibration_error(probs: Tensor, target: Tensor, bins: int = 15, *, validate: bool = True) -> Tensor:
    r"""Largest distance between confidence and accuracy in any bin that is not empty.

    .. math:: \mathrm{MCE} = \max_{b: n_b > 0} \left| \mathrm{acc}_b - \mathrm{conf}_b \right|

    (Naeini et al. 2015). A bin of one input weighs as much as any. Args, value and errors as for
    `expected_calibration_error`.

    Example:
        >>> maximum_calibration_error(torch.tensor([[0.75, 0.25], [1.0, 0.0]]), torch.tensor([0, 0]))
        tensor(0.2500, dtype=torch.float64)
    """
    return _maximum(top_label_sums(probs, target, bins, validate))


def rms_calibration_error(probs: Tensor, target: Tensor, bins: int = 15, *, validate: bool = True) -> Tensor:
    r"""Root of the mean squared distance between confidence and accuracy of the predicted class.

    .. math:: \sqrt{\sum_b \frac{n_b}{N} (\mathrm{acc}_b - \mathrm{conf}_b)^2}

    (Hendrycks et al. 2019, arXiv 1812.04606, there with equal-mass bins). Args, value and errors as for
    `expected_calibration_error`, which it is never below.

    Example:
        >>> rms_calibration_error(torch.tensor([[0.75, 0.25], [1.0, 0.0]]), torch.tensor([0, 0]))
        tensor(0.1768, dtype=torch.float64)
    """
    return _rms(top_label_sums(probs, target, bins, validate))


def debiased_calibration_error(
    probs: Tensor, target: Tensor, bins: int = 15, *, squared: bool = False, validate: bool = True
) -> Tensor:
    r"""`rms_calibration_error` without the upward bias that the binomial noise of each bin's accuracy adds.

    .. math:: E^2 = \sum_b \frac{n_b}{N} \left[ (\mathrm{acc}_b - \mathrm{conf}_b)^2
              - \frac{\mathrm{acc}_b (1 - \mathrm{acc}_b)}{n_b - 1} \right]

    (Bröcker 2012; Ferro and Fricker 2012; Kumar et al. 2019, arXiv 1909.10155, there with equal-mass bins). The
    *squared* error is what is debiased; it may come out negative. Bins of one input count as 0.

    Args:
        probs: probabilities [N, C].
        target: class numbers [N].
        bins: number of bins of equal width on [0, 1].
        squared: return E^2 itself instead of the L2 error, the root of max(E^2, 0).
        validate: False skips the checks of the inputs.

    Returns:
        A float64 scalar. Errors are those of `expected_calibration_error`.

    Example:
        >>> probs, target = torch.tensor([[0.75, 0.25]] * 4), torch.tensor([0, 0, 1, 0])
        >>> debiased_calibration_error(probs, target, squared=True)
        tensor(-0.0625, dtype=torch.float64)
    """
    return _debiased(top_label_sums(probs, target, bins, validate), squared)


class BinnedMetric(UncertaintyMetric):
    """Sums over bins, whatever the number of inputs; a subclass names the sums and the statistic made of them.

    Args:
        bins: number of bins of equal width on [0, 1].
        sample_dim: None for `probs` [N, C]; the axis of the samples if batches are [S, N, C], whose mean is taken.
        validate: False skips the checks of the inputs.
        options: of `function`, or of `torchmetrics.Metric`.
    """

    bin_sums: ClassVar[Callable[..., Tensor]] = staticmethod(top_label_sums)
    statistic: ClassVar[Callable[..., Any]]
    plot_lower_bound = 0.0
    sums: Tensor

    def __init__(self, bins: int = 15, *, sample_dim: int | None = None, validate: bool = True, **options: Any) -> None:
        super().__init__(**options)
        self.bins, self.sample_dim, self.validate = bins, sample_dim, validate
        # Bad options fail here, not at the first batch.
        type(self).function(torch.full((1, 2), 0.5), torch.tensor([0]), bins, **self.options)
        # Where classes are kept apart, the first batch widens the second axis to their number.
        self.add_state("sums", torch.zeros(3, 1, bins, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, probs: Tensor, target: Tensor) -> None:
        """Add `probs` [N, C] ([S, N, C] if `sample_dim` is set: their mean counts) and `target` [N]."""
        probs = mean_prediction(probs, self.sample_dim, self.validate)
        self.sums = self.sums + type(self).bin_sums(probs, target, self.bins, self.validate)

    def compute(self) -> Any:
        """The statistic of all inputs seen."""
        self._require(bool(self.sums[0].sum() > 0))
        return type(self).statistic(self.sums, **self.options)


class ExpectedCalibrationError(BinnedMetric):
    """Running `expected_calibration_error`; options as in `BinnedMetric`."""

    function = staticmethod(expected_calibration_error)
    statistic = staticmethod(expected_gap)


class MaximumCalibrationError(BinnedMetric):
    """Running `maximum_calibration_error`; options as in `BinnedMetric`."""

    function = staticmethod(maximum_calibration_error)
    statistic = staticmethod(_maximum)


class RmsCalibrationError(BinnedMetric):
    """Running `rms_calibration_error`; options as in `BinnedMetric`."""

    function = staticmethod(rms_calibration_error)
    statistic = staticmethod(_rms)


class DebiasedCalibrationError(BinnedMetric):
    """Running `debiased_calibration_error`; options as there and in `BinnedMetric`."""

    function = staticmethod(debiased_calibration_error)
    statistic = staticmethod(_debiased)
    plot_lower_bound = None  # the squared error may be negative
