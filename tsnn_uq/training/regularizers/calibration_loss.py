"""Differentiable calibration errors, as loss terms.

They depend on one prediction per input, the mean of the passes. One pass suffices, so they use all images of a batch;
even 128 are few to estimate calibration.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from tsnn_uq.checks import check_fraction, check_positive, class_numbers
from tsnn_uq.metrics.functional import predictive_entropy
from tsnn_uq.training.regularizers.base import Regularizer

__all__ = ["AccuracyUncertaintyRegularizer", "KernelCalibrationRegularizer", "SoftBinnedRegularizer"]


@dataclass(frozen=True)
class AccuracyUncertaintyRegularizer(Regularizer):
    """Accuracy versus uncertainty (AvUC; Krishnan and Tickoo, 2020, arXiv 2012.07923, equations 6 and 7).

    -log of the share of inputs that are right and certain or wrong and uncertain, where each counts by degree: with
    confidence p and entropy u (nats) of the mean prediction,

        right and certain p (1 - tanh u),        right and uncertain p tanh u,
        wrong and certain (1 - p) (1 - tanh u),  wrong and uncertain (1 - p) tanh u.

    Args:
        threshold: entropy above which a prediction is uncertain, as a share of log C. (The authors take the middle
            between the mean entropies of right and wrong inputs after some epochs without the loss.)

    Raises:
        InputError: the threshold is out of range.
    """

    threshold: float = 0.3

    def __post_init__(self) -> None:
        check_fraction("threshold", self.threshold)

    def __call__(self, mc_logits: Tensor, target: Tensor) -> Tensor:
        """The loss, a scalar."""
        probs = self.probabilities(mc_logits).mean(0)
        confidence, right = _confidence(probs, target)
        entropy = predictive_entropy(probs[None], reduction="none", validate=False)
        uncertain = entropy.detach() > self.threshold * math.log(probs.shape[-1])
        by_accuracy = torch.where(right, confidence, 1 - confidence)
        amount = by_accuracy * torch.where(uncertain, entropy.tanh(), 1 - entropy.tanh())
        tiny = torch.finfo(probs.dtype).eps ** 2
        return ((amount.sum() + tiny) / ((amount * (right != uncertain)).sum() + tiny)).log()


@dataclass(frozen=True)
class SoftBinnedRegularizer(Regularizer):
    """Soft-binned calibration error (SB-ECE; Karandikar et al., 2021, arXiv 2108.00106, equation 11), of order 2.

    (sum over bins of (m_j / N) (A_j - C_j)^2)^(1/2), where input i belongs to bin j to the degree softmax_j(-(c_i -
    xi_j)^2 / temperature) with confidence c and the bins' midpoints xi; m_j is the bin's mass and A_j, C_j its mean
    accuracy and confidence. As the temperature goes to 0 it becomes the binned error
    (`tsnn_uq.metrics.functional.rms_calibration_error`).

    Args:
        bins: number of bins of equal width.
        temperature: softness of the bins, in squared confidence; at 0.01 a bin reaches its neighbours.

    Raises:
        InputError: an argument is out of range.
    """

    bins: int = 15
    temperature: float = 0.01

    def __post_init__(self) -> None:
        check_positive("bins", self.bins, integer=True)
        check_positive("temperature", self.temperature)

    def __call__(self, mc_logits: Tensor, target: Tensor) -> Tensor:
        """The error, a scalar from 0 to 1."""
        confidence, right = _confidence(self.probabilities(mc_logits).mean(0), target)
        middles = (torch.arange(self.bins).to(confidence) + 0.5) / self.bins
        membership = (-((confidence[:, None] - middles) ** 2) / self.temperature).softmax(-1)
        excess = (membership * (right.to(confidence) - confidence)[:, None]).sum(0)  # m (A - C)
        mass = membership.sum(0).clamp_min(torch.finfo(confidence.dtype).eps ** 2)  # smaller values would overflow
        return _root((excess**2 / mass).sum() / len(confidence))


@dataclass(frozen=True)
class KernelCalibrationRegularizer(Regularizer):
    """Maximum mean calibration error (MMCE; Kumar, Sarawagi and Jain, 2018), with a Laplacian kernel.

    `(sum over pairs of e_i e_j exp(-|c_i - c_j| / width))^(1/2)` with e_i = (a_i - c_i) / N, confidence c, and a = 1
    for right predictions, else 0. It has no bins and is 0 only if confidence and accuracy agree everywhere.

    Args:
        width: width of the kernel, in confidence; the authors use 0.4.
        weighted: divide e_i by the number of right inputs if input i is right, and by the number of wrong inputs if it
            is wrong, instead of N (the authors' MMCE_w). The few wrong inputs of an accurate network then count as
            much as the right ones.

    Raises:
        InputError: the width is not above 0.
    """

    width: float = 0.4
    weighted: bool = False

    def __post_init__(self) -> None:
        check_positive("width", self.width)

    def __call__(self, mc_logits: Tensor, target: Tensor) -> Tensor:
        """The error, a scalar from 0 to 1."""
        confidence, right = _confidence(self.probabilities(mc_logits).mean(0), target)
        count = torch.full_like(confidence, len(confidence))
        if self.weighted:
            count = torch.where(right, right.sum(), (~right).sum()).to(confidence)
        error = (right.to(confidence) - confidence) / count
        kernel = (-(confidence[:, None] - confidence).abs() / self.width).exp()
        return _root(error @ kernel @ error)


def _confidence(probs: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Probability of the predicted class [N], and whether it is the right one [N]."""
    confidence, predicted = probs.max(-1)
    return confidence, predicted == class_numbers("target", target)


def _root(square: Tensor) -> Tensor:
    """Square root, with gradient 0 at 0 instead of infinity."""
    return torch.where(square > 0, square, 1.0).sqrt() * (square > 0)
