"""Calibration errors of the probabilities of all classes, over bins of equal width or equal mass."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from tsnn_uq.checks import InputError, check_positive
from tsnn_uq.metrics.base import StoringMetric
from tsnn_uq.metrics.bins import BinnedMetric, Of, bin_sums, confidences_and_hits, expected_gap
from tsnn_uq.metrics.input_checks import as_forecast, average_ties, mean_prediction

__all__ = [
    "AdaptiveCalibrationError",
    "ClasswiseCalibrationError",
    "adaptive_calibration_error",
    "classwise_calibration_error",
]


def classwise_calibration_error(probs: Tensor, target: Tensor, bins: int = 15, *, validate: bool = True) -> Tensor:
    r"""Calibration error of each class's one-vs-rest probability, averaged over the classes.

    .. math:: \frac1C \sum_c \sum_b \frac{n_{bc}}{N} \left| \mathrm{freq}_{bc} - \mathrm{conf}_{bc} \right|

    See Kull et al. 2019, arXiv 1910.12656. It is the mean, not the sum, over classes, and the same as
    `expected_calibration_error` with ``of="classes"``. Args, value and errors are those of
    `expected_calibration_error`.

    Example:
        >>> classwise_calibration_error(torch.tensor([[0.75, 0.25], [0.75, 0.25]]), torch.tensor([0, 1]))
        tensor(0.2500, dtype=torch.float64)
    """
    return expected_gap(bin_sums(probs, target, bins, "classes", validate))


def adaptive_calibration_error(
    probs: Tensor, target: Tensor, bins: int = 15, *, of: Of = "classes", validate: bool = True
) -> Tensor:
    r"""Calibration error over bins of equal mass, per class, mean over bins and classes: Nixon's *Adaptive* error.

    .. math:: \frac{1}{C R} \sum_c \sum_r \left| \mathrm{freq}_{rc} - \mathrm{conf}_{rc} \right|

    See Nixon et al. 2019, arXiv 1904.01685. It differs from netcal's ACE, the *average* error over non-empty
    equal-width bins of the predicted class. For each class, the k-th smallest of its N probabilities (from 0) is in
    range floor(k R / N); empty ranges, for N < R, are left out. Equal probabilities may be in two ranges. Their truths
    are averaged first, so the order of the rows does not matter.

    Args:
        probs: probabilities [N, C].
        target: class numbers [N].
        bins: number R of ranges.
        of: "classes", or "predicted" for the confidence of the predicted class alone (C = 1 in the formula).
        validate: False skips the checks of the inputs.

    Returns:
        A float64 scalar between 0 and 1. Errors are those of `classwise_calibration_error`.

    Example:
        >>> probs = torch.tensor([[0.6, 0.4], [0.7, 0.3], [0.8, 0.2], [0.9, 0.1]])
        >>> adaptive_calibration_error(probs, torch.tensor([0, 1, 0, 0]), bins=2)
        tensor(0.1500, dtype=torch.float64)
    """
    check_positive("bins", bins, integer=True)
    confidence, hit = confidences_and_hits(probs, target, of, validate)
    if len(confidence) == 0:
        raise InputError("probs: expected at least one input to measure calibration on; got none (N = 0)")
    pairs = zip(confidence.detach().T, hit.T, strict=True)
    return torch.stack([_equal_mass_gap(group, truth, bins) for group, truth in pairs]).mean()


def _equal_mass_gap(confidence: Tensor, hit: Tensor, bins: int) -> Tensor:
    gap = (confidence.double() - average_ties(confidence, hit))[confidence.argsort()]
    place = torch.arange(len(gap), device=gap.device) * bins // len(gap)
    count = torch.bincount(place, minlength=bins)
    return (torch.bincount(place, gap, minlength=bins).abs() / count)[count > 0].mean()


class ClasswiseCalibrationError(BinnedMetric):
    """Running `classwise_calibration_error`; options as in `BinnedMetric`."""

    function = staticmethod(classwise_calibration_error)
    of = "classes"
    statistic = staticmethod(expected_gap)


class AdaptiveCalibrationError(StoringMetric):
    """`adaptive_calibration_error` of all inputs seen, which are kept; `sample_dim` and `of` as in `BinnedMetric`."""

    function = staticmethod(adaptive_calibration_error)
    names = ("probs", "target")
    plot_lower_bound = 0.0

    def __init__(self, bins: int = 15, *, sample_dim: int | None = 0, **options: Any) -> None:
        super().__init__(bins=bins, **options)
        # Validate the options now, not at the first batch.
        adaptive_calibration_error(torch.full((1, 2), 0.5), torch.tensor([0]), **self.options)
        self.sample_dim = sample_dim
        self._add_lists(sample_dim=sample_dim)

    def update(self, probs: Tensor, target: Tensor) -> None:
        """Keep `probs` [N, C] (or [S, N, C], whose mean is kept) and `target` [N]."""
        self._keep(*as_forecast(mean_prediction(probs, self.sample_dim, self.validate), target, self.validate))
