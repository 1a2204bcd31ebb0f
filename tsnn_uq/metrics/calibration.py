"""Calibration errors over equal-width bins of confidence (see `bins`): of the predicted class, or of all classes.

Their values depend on the numbers of bins and of inputs, and all but the debiased one are biased upward: report both.
Values are float64. Metrics of the same bins share one state in a `torchmetrics.MetricCollection`.
"""

from __future__ import annotations

from torch import Tensor

from tsnn_uq.metrics.bins import BinnedMetric, Of, bin_sums, expected_gap, weights_and_gaps

__all__ = [
    "DebiasedCalibrationError",
    "ExpectedCalibrationError",
    "MaximumCalibrationError",
    "OverconfidenceError",
    "RmsCalibrationError",
    "UnderconfidenceError",
    "debiased_calibration_error",
    "expected_calibration_error",
    "maximum_calibration_error",
    "overconfidence_error",
    "rms_calibration_error",
    "underconfidence_error",
]


def _maximum(sums: Tensor) -> Tensor:
    return weights_and_gaps(sums)[1].abs().max()


def _over(sums: Tensor) -> Tensor:
    weight, gap = weights_and_gaps(sums)
    return (weight * gap.clamp_min(0)).sum(-1).mean()


def _under(sums: Tensor) -> Tensor:
    weight, gap = weights_and_gaps(sums)
    return (weight * (-gap).clamp_min(0)).sum(-1).mean()


def _rms(sums: Tensor) -> Tensor:
    weight, gap = weights_and_gaps(sums)
    return (weight * gap.square()).sum(-1).mean().sqrt()


def _debiased(sums: Tensor, squared: bool = False) -> Tensor:
    weight, gap = weights_and_gaps(sums)
    count, _, hits = sums
    accuracy = hits / count.clamp_min(1)
    error = gap.square() - accuracy * (1 - accuracy) / (count - 1).clamp_min(1)
    # A bin of one input has no variance estimate and counts as 0, as in the authors' code.
    total = (weight * error * (count > 1)).sum(-1).mean()
    return total if squared else total.clamp_min(0).sqrt()


def expected_calibration_error(
    probs: Tensor, target: Tensor, bins: int = 15, *, of: Of = "predicted", validate: bool = True
) -> Tensor:
    r"""Mean distance between confidence and accuracy of the predicted class, over equal-width bins.

    .. math:: \mathrm{ECE} = \sum_b \frac{n_b}{N} \left| \mathrm{acc}_b - \mathrm{conf}_b \right|

    (Naeini et al. 2015; Guo et al. 2017, arXiv 1706.04599). For Monte Carlo samples, pass the mean prediction.

    Args:
        probs: probabilities [N, C].
        target: class numbers [N].
        bins: number of bins of equal width on [0, 1]; report it, and N, with every value.
        of: "predicted" for the confidence in the predicted class, "classes" for the probabilities of all classes,
            averaged over classes (before a root is taken); `maximum_calibration_error` takes the largest.
        validate: False skips the checks of the inputs.

    Returns:
        A float64 scalar between 0 and 1.

    Raises:
        InputError: `probs` are not probabilities, `target` are not labels of their classes, `bins` is not a positive
            whole number, or there are no inputs.

    Example:
        >>> import torch
        >>> expected_calibration_error(torch.tensor([[0.75, 0.25], [0.75, 0.25]]), torch.tensor([0, 1]))
        tensor(0.2500, dtype=torch.float64)
    """
    return expected_gap(bin_sums(probs, target, bins, of, validate))


def maximum_calibration_error(
    probs: Tensor, target: Tensor, bins: int = 15, *, of: Of = "predicted", validate: bool = True
) -> Tensor:
    r"""Largest distance between confidence and accuracy in any bin that is not empty.

    .. math:: \mathrm{MCE} = \max_{b: n_b > 0} \left| \mathrm{acc}_b - \mathrm{conf}_b \right|

    (Naeini et al. 2015). A bin with one input counts as much as any other. Args, value and errors are those of
    `expected_calibration_error`.

    Example:
        >>> import torch
        >>> maximum_calibration_error(torch.tensor([[0.75, 0.25], [1.0, 0.0]]), torch.tensor([0, 0]))
        tensor(0.2500, dtype=torch.float64)
    """
    return _maximum(bin_sums(probs, target, bins, of, validate))


def rms_calibration_error(
    probs: Tensor, target: Tensor, bins: int = 15, *, of: Of = "predicted", validate: bool = True
) -> Tensor:
    r"""Root of the mean squared distance between confidence and accuracy of the predicted class.

    .. math:: \sqrt{\sum_b \frac{n_b}{N} (\mathrm{acc}_b - \mathrm{conf}_b)^2}

    (Hendrycks et al. 2019, arXiv 1812.04606, there with equal-mass bins). It is never below
    `expected_calibration_error`. Args, value and errors are those of `expected_calibration_error`.

    Example:
        >>> import torch
        >>> rms_calibration_error(torch.tensor([[0.75, 0.25], [1.0, 0.0]]), torch.tensor([0, 0]))
        tensor(0.1768, dtype=torch.float64)
    """
    return _rms(bin_sums(probs, target, bins, of, validate))


def debiased_calibration_error(
    probs: Tensor,
    target: Tensor,
    bins: int = 15,
    *,
    of: Of = "predicted",
    squared: bool = False,
    validate: bool = True,
) -> Tensor:
    r"""`rms_calibration_error` without the upward bias that the binomial noise of each bin's accuracy adds.

    .. math:: E^2 = \sum_b \frac{n_b}{N} \left[ (\mathrm{acc}_b - \mathrm{conf}_b)^2
              - \frac{\mathrm{acc}_b (1 - \mathrm{acc}_b)}{n_b - 1} \right]

    (Bröcker 2012; Ferro and Fricker 2012; Kumar et al. 2019, arXiv 1909.10155, there with equal-mass bins). The
    *squared* error is debiased; it may be negative. Bins of one input count as 0.

    Args:
        probs: probabilities [N, C].
        target: class numbers [N].
        bins: number of bins of equal width on [0, 1].
        of: "predicted" or "classes", as in `expected_calibration_error` (Kumar's marginal calibration error).
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
    return _debiased(bin_sums(probs, target, bins, of, validate), squared)


def overconfidence_error(
    probs: Tensor, target: Tensor, bins: int = 15, *, of: Of = "predicted", validate: bool = True
) -> Tensor:
    r"""The part of `expected_calibration_error` that comes from overconfident bins.

    .. math:: \sum_b \frac{n_b}{N} \max(\mathrm{conf}_b - \mathrm{acc}_b, 0)

    With `underconfidence_error` it adds up to `expected_calibration_error`; the difference of the two is mean
    confidence minus accuracy. (Thulasidasan et al. 2019, arXiv 1905.11001, also weight each bin by its confidence.)
    Args, value and errors as for `expected_calibration_error`.

    Example:
        >>> import torch
        >>> overconfidence_error(torch.tensor([[0.75, 0.25], [0.75, 0.25]]), torch.tensor([0, 1]))
        tensor(0.2500, dtype=torch.float64)
    """
    return _over(bin_sums(probs, target, bins, of, validate))


def underconfidence_error(
    probs: Tensor, target: Tensor, bins: int = 15, *, of: Of = "predicted", validate: bool = True
) -> Tensor:
    r"""The part of `expected_calibration_error` that comes from underconfident bins.

    .. math:: \sum_b \frac{n_b}{N} \max(\mathrm{acc}_b - \mathrm{conf}_b, 0)

    Args, value and errors as for `expected_calibration_error`.

    Example:
        >>> import torch
        >>> underconfidence_error(torch.tensor([[0.75, 0.25], [0.75, 0.25]]), torch.tensor([0, 0]))
        tensor(0.2500, dtype=torch.float64)
    """
    return _under(bin_sums(probs, target, bins, of, validate))


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


class OverconfidenceError(BinnedMetric):
    """Running `overconfidence_error`; options as in `BinnedMetric`."""

    function = staticmethod(overconfidence_error)
    statistic = staticmethod(_over)


class UnderconfidenceError(BinnedMetric):
    """Running `underconfidence_error`; options as in `BinnedMetric`."""

    function = staticmethod(underconfidence_error)
    statistic = staticmethod(_under)
