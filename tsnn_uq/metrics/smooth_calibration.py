"""Smooth calibration error: residuals are smoothed by a Gaussian kernel whose width equals the error.

The kernel is reflected at 0 and 1, so it is diagonal in the cosines cos(pi k t): smoothing multiplies the k-th
coefficient of the residuals by exp(-(pi k width)^2 / 2). The state is the sum over inputs of
residual * cos(pi k confidence) for k below 4096, in float64. It determines the error at every width above 0.0005 up to
rounding. Smaller widths occur only with some hundred million inputs, or if nearly all residuals are 0.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from tsnn_uq.checks import InputError
from tsnn_uq.metrics.base import UncertaintyMetric
from tsnn_uq.metrics.bins import Of, confidences_and_hits
from tsnn_uq.metrics.input_checks import mean_prediction

__all__ = ["SmoothCalibrationError", "smooth_calibration_error"]

_FINE, _COARSE = 64, 64  # k = fine + 64 coarse
_TERMS = _FINE * _COARSE
_CELLS = 2 * _TERMS  # cells of the grid on which the smoothed residuals are integrated
_STEPS = 40  # maximum iterations for the width; usually ten suffice


def _cosine_sums(confidence: Tensor, hit: Tensor) -> Tensor:
    """Sum over inputs of (hit - confidence) * cos(pi k confidence) for each k: [N, G], [N, G] -> float64 [G, terms].

    By cos(a + b) = cos a cos b - sin a sin b the 4096 cosines of an input are products of 256 numbers, and their sums
    over inputs are matrix products. Blocks of classes and inputs bound the memory.
    """
    confidence = confidence.detach().double()
    residual = hit.double() - confidence
    fine = math.pi * torch.arange(_FINE, dtype=torch.float64, device=confidence.device)
    coarse = _FINE * math.pi * torch.arange(_COARSE, dtype=torch.float64, device=confidence.device)
    sums = confidence.new_zeros(confidence.shape[1], _TERMS)
    for columns in torch.arange(confidence.shape[1], device=confidence.device).split(8):
        for x, r in zip(confidence[:, columns].split(2048), residual[:, columns].split(2048), strict=True):
            x, r = x.T[:, :, None], r.T[:, :, None]
            a, b = x * fine, x * coarse
            product = (r * b.cos()).mT @ a.cos() - (r * b.sin()).mT @ a.sin()
            sums[columns] += product.flatten(1)
    return sums


def _mean_absolute(coefficients: Tensor, width: Tensor) -> Tensor:
    """Integral over [0, 1] of the absolute value of the residuals smoothed to `width`: [G, terms], [G] -> [G]."""
    k = torch.arange(_TERMS, dtype=torch.float64, device=coefficients.device)
    damped = coefficients * torch.exp(-((math.pi * width[:, None] * k) ** 2) / 2)
    smoothed = torch.fft.irfft(damped.to(torch.complex128), n=2 * _CELLS, norm="forward")[:, : _CELLS + 1]
    sines = damped[:, 1:] / (math.pi * k[1:])
    sines = torch.nn.functional.pad(torch.complex(torch.zeros_like(sines), -sines), (1, 0))
    integral = torch.fft.irfft(sines, n=2 * _CELLS, norm="forward")[:, : _CELLS + 1]
    # Exact in cells without a sign change; linear interpolation in the others.
    exact = (integral.diff(dim=-1) + damped[:, :1] / _CELLS).abs()
    left, right = smoothed[:, :-1], smoothed[:, 1:]
    line = (left**2 + right**2) / (2 * (left.abs() + right.abs()).clamp_min(1e-300)) / _CELLS
    return torch.where(left * right < 0, line, exact).sum(-1)


def _fixed_point(sums: Tensor, count: Tensor) -> Tensor:
    """The width that equals the error at that width, averaged over groups; the error falls as the width grows."""
    if count == 0:
        raise InputError("probs: expected at least one input to measure calibration on; got none (N = 0)")
    return torch.cat([_root(group) for group in (sums / count).split(16)]).mean()


def _root(coefficients: Tensor) -> Tensor:
    """Where error - width changes sign, by the Illinois variant of regula falsi: [G, terms] -> [G]."""
    low = coefficients.new_zeros(len(coefficients))
    high = torch.ones_like(low)
    above, below = (_mean_absolute(coefficients, width) - width for width in (low, high))
    rose = torch.zeros_like(low)
    for _ in range(_STEPS):
        drop = above - below  # 0 where there is no error at any width
        middle = torch.where(drop > 0, (high * above - low * below) / drop.clamp_min(1e-300), low)
        value = _mean_absolute(coefficients, middle) - middle
        rises = value > 0
        # Halve the value of an end that stays twice, so that both ends converge.
        above = torch.where(rises, value, torch.where(rose < 0, above / 2, above))
        below = torch.where(rises, torch.where(rose > 0, below / 2, below), value)
        low, high = torch.where(rises, middle, low), torch.where(rises, high, middle)
        rose = torch.where(rises, 1.0, -1.0)
        if (value.abs() < 1e-12).all():
            break
    return middle


def smooth_calibration_error(probs: Tensor, target: Tensor, *, of: Of = "predicted", validate: bool = True) -> Tensor:
    r"""Distance between confidence and accuracy after Gaussian smoothing, whose width is the error itself (SmoothECE).

    .. math:: \mathrm{smECE}_\sigma = \int_0^1 \Big| \frac1N \sum_i (y_i - f_i) K_\sigma(t, f_i) \Big| \, dt,
              \qquad \mathrm{smECE} = \sigma^* \text{ with } \mathrm{smECE}_{\sigma^*} = \sigma^*

    with confidence f, correctness y, and the Gaussian kernel K of standard deviation sigma, reflected at 0 and 1
    (Blasiok and Nakkiran 2023, arXiv 2309.12236). No bins or width have to be chosen, and the value is a continuous
    function of the predictions. It is computed from 4096 cosine sums, with a relative error of about 1e-6.

    Args:
        probs: probabilities [N, C]. For Monte Carlo samples, pass the mean prediction.
        target: class numbers [N].
        of: "predicted" for the confidence in the predicted class; "classes" for the mean over all classes of the
            error of each one's probability.
        validate: False skips the checks of the inputs.

    Returns:
        A float64 scalar between 0 and 1.

    Raises:
        InputError: `probs` are not probabilities, `target` are not labels of their classes, an option is unknown, or
            there are no inputs.

    Example:
        >>> probs, target = torch.tensor([[0.75, 0.25], [0.75, 0.25]]), torch.tensor([0, 1])
        >>> smooth_calibration_error(probs, target)
        tensor(0.2500, dtype=torch.float64)
    """
    confidence, hit = confidences_and_hits(probs, target, of, validate)
    return _fixed_point(_cosine_sums(confidence, hit), torch.tensor(len(confidence)))


class SmoothCalibrationError(UncertaintyMetric):
    """Running `smooth_calibration_error`; 4096 sums are kept (for each class).

    Args:
        of: "predicted" or "classes".
        sample_dim: the axis of the samples in `probs` [S, N, C], whose mean is taken; `probs` [N, C] has none. With
            None, `probs` must be [N, C].
        validate: False skips the checks of the inputs.
        options: of `torchmetrics.Metric`.
    """

    function = staticmethod(smooth_calibration_error)
    plot_lower_bound = 0.0
    sums: Tensor
    count: Tensor

    def __init__(
        self, *, of: Of = "predicted", sample_dim: int | None = 0, validate: bool = True, **options: Any
    ) -> None:
        super().__init__(of=of, **options)
        self.sample_dim, self.validate = sample_dim, validate
        # Validate the options now, not at the first batch.
        confidences_and_hits(torch.full((1, 2), 0.5), torch.tensor([0]), validate=True, **self.options)
        # With a sum per class, the first batch widens the first axis to the number of classes.
        states = {"sums": torch.zeros(1, _TERMS, dtype=torch.float64), "count": torch.tensor(0)}
        self._add_states(states, {"of": of}, sample_dim=sample_dim, validate=validate)

    def update(self, probs: Tensor, target: Tensor) -> None:
        """Add `probs` [N, C] (or [S, N, C], whose mean is taken) and `target` [N]."""
        probs = mean_prediction(probs, self.sample_dim, self.validate)
        confidence, hit = confidences_and_hits(probs, target, validate=self.validate, **self.options)
        self.sums = self.sums + _cosine_sums(confidence, hit)
        self.count = self.count + len(confidence)

    def compute(self) -> Tensor:
        """The error of all inputs seen."""
        self._require(bool(self.count))
        return _fixed_point(self.sums, self.count)
