"""Ternary rules: from float weights to codes in {-1, 0, +1} and a scale.

A rule is a threshold: weights whose magnitude is above it become their sign, the others zero. Thresholds
and scales are computed per *group*: the whole tensor (one scale a layer) or each output channel (axis 0).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from tsnn_uq.checks import check_choice, check_fraction, check_positive

__all__ = ["RULES", "SCALES", "Rule", "mean_fraction", "mean_rounding", "quantile", "ternary_codes"]

SCALES = ("layer", "channel", "none")
Rule = Callable[[Tensor], Tensor]
"""From magnitudes |w| [groups, weights] to a threshold for each group [groups, 1]."""


def mean_fraction(factor: float = 0.7) -> Rule:
    """Threshold = `factor` times the mean magnitude; 0.7 is optimal for uniform weights (Li et al., 2016)."""
    check_positive("factor", factor)
    return lambda magnitude: factor * magnitude.mean(1, keepdim=True)


def mean_rounding() -> Rule:
    """Round w / mean|w| to the nearest of -1, 0, +1, as BitNet b1.58 does (Ma et al., 2024): a factor of 1/2."""
    return mean_fraction(0.5)


def quantile(sparsity: float = 0.5) -> Rule:
    """Threshold at a quantile of the magnitudes, so that a share `sparsity` of the weights becomes zero."""
    check_fraction("sparsity", sparsity, below_one=True)

    def threshold(magnitude: Tensor) -> Tensor:
        zeros = round(sparsity * magnitude.shape[1])
        if zeros == 0:
            return torch.full_like(magnitude[:, :1], -1)  # nothing is below: exact zeros keep a sign of 0
        return magnitude.kthvalue(zeros, dim=1, keepdim=True).values

    return threshold


RULES: dict[str, Callable[..., Rule]] = {
    "mean-fraction": mean_fraction,
    "mean-rounding": mean_rounding,
    "quantile": quantile,
}


def ternary_codes(weight: Tensor, rule: Rule, scale: str = "layer") -> tuple[Tensor, Tensor]:
    """Ternarize: codes = sign(w) where |w| > threshold, else 0, and the best scale for these codes.

    The scale minimizes ||w - scale * codes||^2: the mean magnitude of the weights that stay
    (Li et al., 2016, eq. 5). For ``"none"`` it is one.

    Args:
        weight: float weights, any shape; axis 0 is the output channel.
        rule: the threshold, e.g. ``mean_fraction(0.7)``.
        scale: ``"layer"``, ``"channel"`` or ``"none"``.

    Returns:
        Codes of the shape and dtype of `weight`, and scales that broadcast against it: one, or one a channel.

    Example:
        >>> codes, scale = ternary_codes(torch.tensor([[-0.9, 0.1, 0.7]]), mean_fraction(0.7))
        >>> codes, scale
        (tensor([[-1.,  0.,  1.]]), tensor([[0.8000]]))
    """
    check_choice("scale", scale, SCALES)
    groups = weight.reshape(len(weight), -1) if scale == "channel" else weight.reshape(1, -1)
    magnitude = groups.abs()
    kept = magnitude > rule(magnitude)
    codes = groups.sign().mul_(kept)
    if scale == "none":
        factor = groups.new_ones(1, 1)
    else:
        # A group without a weight above its threshold is all zeros, whatever its scale.
        factor = magnitude.mul_(kept).sum(1, keepdim=True) / kept.sum(1, keepdim=True).clamp_(min=1)
    return codes.reshape(weight.shape), factor.reshape(-1, *[1] * (weight.dim() - 1))
