"""Calibration errors of the predicted class, over equal-width bins of its confidence (see `bins`).

Every one depends on the number of bins and of inputs, and all but the debiased one are biased upward: report both.
Values are float64. Metrics of the same bins share one state in a `torchmetrics.MetricCollection`.
"""

from __future__ import annotations

from torch import Tensor

from tsnn_uq.metrics.bins import BinnedMetric, expected_gap, top_label_sums, weights_and_gaps

__all__ = [
    "DebiasedCalibrationError",
    "ExpectedCalibrationError",
    "MaximumCalibrationError",
    "RmsCalibrationError",
    "debiased_calibration_error",
    "expected_calibration_error",
    "maximum_calibration_error",
    "rms_calibration_error",
]


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
        >>> import torch
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
        >>> import torch
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
        >>> import torch
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
        >>> import torch
        >>> probs, target = torch.tensor([[0.75, 0.25]] * 4), torch.tensor([0, 0, 1, 0])
        >>> debiased_calibration_error(probs, target, squared=True)
        tensor(-0.0625, dtype=torch.float64)
    """
    return _debiased(top_label_sums(probs, target, bins, validate), squared)


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
