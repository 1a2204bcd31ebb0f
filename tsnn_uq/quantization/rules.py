"""Ternary rules: from float weights to codes in {-1, 0, +1} and a scale.

A rule is a threshold: weights whose magnitude is above it become their sign, the others zero. Thresholds
and scales are computed per *group*: the whole tensor (one scale a layer) or each output channel (axis 0; see
`tsnn_uq.quantization.channels` for layers with another axis). Means, sums and counts are computed in float32 or better
for all dtypes: float16 overflows at 65,504, and bfloat16 counts exactly only to 256.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from tsnn_uq.checks import InputError, check_choice, check_fraction, check_positive

__all__ = [
    "RULES",
    "SCALES",
    "Rule",
    "by_group",
    "fit_scale",
    "make_rule",
    "mean_fraction",
    "mean_rounding",
    "quantile",
    "ternary_codes",
    "ternary_parts",
]

SCALES = ("layer", "channel", "none")
Rule = Callable[[Tensor], Tensor]
"""Maps magnitudes |w| [groups, weights] to thresholds of at least 0, per group [groups, 1] or per weight."""


def mean_fraction(factor: float = 0.7) -> Rule:
    """Threshold = `factor` times the mean magnitude.

    The least squares optimum is near 2/3 for uniform weights and 3/4 for normal ones; 0.7 is the usual
    compromise (Li et al., 2016, section 2.2).
    """
    check_positive("factor", factor)
    return lambda magnitude: factor * magnitude.mean(1, keepdim=True)


def mean_rounding() -> Rule:
    """Round w / mean|w| to the nearest of -1, 0, +1: a factor of 1/2.

    These are the codes of BitNet b1.58 (Ma et al., 2024); its scale is mean|w|, ours is the least-squares scale of the
    codes.
    """
    return mean_fraction(0.5)


def quantile(sparsity: float = 0.5) -> Rule:
    """Threshold at a quantile of the magnitudes, so that a share `sparsity` of the weights becomes zero.

    Exactly ``round(sparsity * n)`` of the n weights of a group become zero, or all that are already zero if those are
    more. Ties at the threshold are broken deterministically and spread over the group, since zeroing the first ones
    would remove all weights of some neurons.
    """
    check_fraction("sparsity", sparsity, below_one=True)

    def threshold(magnitude: Tensor) -> Tensor:
        count = magnitude.shape[1]
        zeros = round(sparsity * count)
        if zeros == 0:
            return torch.zeros_like(magnitude[:, :1])
        cut = magnitude.kthvalue(zeros, dim=1, keepdim=True).values
        if _holds(((magnitude <= cut).sum(1) <= zeros).all()):  # no ties to break; this halves the time
            return cut
        tied = magnitude == cut
        wanted = zeros - (magnitude < cut).sum(1, keepdim=True)
        order = _spread(count).to(magnitude.device)
        first = torch.zeros_like(tied).index_copy(1, order, tied[:, order].cumsum(1) <= wanted)
        return torch.where(tied & ~first, torch.nextafter(cut, torch.zeros_like(cut)), cut)

    return threshold


def _holds(condition: Tensor) -> bool:
    """Whether a condition is known to hold; False while tracing a graph or under `torch.func.vmap`."""
    try:
        return not torch.compiler.is_compiling() and bool(condition)
    except RuntimeError:
        return False


def _spread(count: int) -> Tensor:
    """A permutation of 0 .. `count` - 1 in golden-section steps, so that the first few are far apart."""
    step = next(step for step in itertools.count(round(0.618 * count)) if math.gcd(step, count) == 1)
    return torch.arange(count) * step % count


RULES: dict[str, Callable[..., Rule]] = {
    "mean-fraction": mean_fraction,
    "mean-rounding": mean_rounding,
    "quantile": quantile,
}


def make_rule(name: str, options: Mapping[str, float] | None = None) -> Rule:
    """A rule by name with its own options.

    Raises:
        InputError: unknown rule or option.
    """
    factory = RULES[check_choice("rule", name, RULES)]
    try:
        return factory(**(options or {}))
    except TypeError as error:
        raise InputError(f"rule: {name!r} does not take these options: {error}") from error


def by_group(weight: Tensor, scale: str) -> Tensor:
    """`weight` as [groups, weights] in float32 or better.

    There is one group, or for the scale ``"channel"`` one for each output channel (axis 0).
    """
    check_choice("scale", scale, SCALES)
    shape = (len(weight), math.prod(weight.shape[1:])) if scale == "channel" else (1, -1)
    return weight.reshape(shape).to(torch.promote_types(weight.dtype, torch.float32))


def fit_scale(weight: Tensor, codes: Tensor, scale: str = "layer") -> Tensor:
    """The scale that minimizes ||weight - scale * codes||^2 for given codes: <weight, codes> / <codes, codes>.

    Args:
        weight: float weights, any shape; axis 0 is the output channel.
        codes: -1, 0 or +1, same shape.
        scale: ``"layer"``, ``"channel"`` or ``"none"``.

    Returns:
        Scales of the dtype of `weight` that broadcast against it: one, or one per channel.
    """
    shape = (-1, *[1] * (weight.dim() - 1))
    if scale == "none":
        return weight.new_ones(1).reshape(shape)
    products = by_group(weight.detach() * codes, scale).sum(1)
    # The scale of a group of zeros does not matter.
    return (products / by_group(codes.abs(), scale).sum(1).clamp_(min=1)).reshape(shape).to(weight.dtype)


def ternary_codes(weight: Tensor, rule: Rule, scale: str = "layer") -> tuple[Tensor, Tensor]:
    """Ternarize: codes = sign(w) where `|w| > threshold`, else 0, and the best scale for these codes.

    The scale minimizes `||w - scale * codes||^2`: the mean magnitude of the nonzero weights
    (Li et al., 2016, eq. 5). For ``"none"`` it is one.

    Args:
        weight: float weights, any shape; axis 0 is the output channel.
        rule: the threshold, e.g. ``mean_fraction(0.7)``.
        scale: ``"layer"``, ``"channel"`` or ``"none"``.

    Returns:
        Codes of the shape and dtype of `weight`, and scales that broadcast against it: one, or one per channel.

    Example:
        >>> codes, scale = ternary_codes(torch.tensor([[-0.9, 0.1, 0.7]]), mean_fraction(0.7))
        >>> codes, scale
        (tensor([[-1.,  0.,  1.]]), tensor([[0.8000]]))
    """
    groups = by_group(weight.detach(), scale)
    magnitude = groups.abs()
    # In place, with 0 and 1 as floats: a new tensor or a boolean product would dominate the time.
    kept = torch.gt(magnitude, rule(magnitude)).to(magnitude.dtype)
    count = kept.sum(1)
    total = magnitude.mul_(kept).sum(1)
    codes = kept.mul_(groups).sign_()
    # The mean of the kept magnitudes equals `fit_scale`, since w * sign(w) = |w|; NaN propagates to both.
    fitted = 1 + 0 * total if scale == "none" else total / count.clamp(min=1)
    shape = (-1, *[1] * (weight.dim() - 1))
    return codes.reshape(weight.shape).to(weight.dtype), fitted.reshape(shape).to(weight.dtype)


def ternary_parts(weight: Tensor) -> tuple[Tensor, Tensor] | None:
    """Split a ternary weight into codes and scales, the inverse of scale * codes.

    A weight is ternary if each output channel (axis 0) holds at most one magnitude besides zero; the
    comparison is exact.

    Args:
        weight: [out, ...], at least two axes.

    Returns:
        Codes (int8, of its shape) and scales that broadcast against them: one if all channels share it,
        else one per channel. ``None`` if it is not ternary.

    Example:
        >>> codes, scale = ternary_parts(torch.tensor([[0.5, -0.5], [0.0, 0.5]]))
        >>> codes.tolist(), scale.tolist()
        ([[1, -1], [0, 1]], [[0.5]])
        >>> ternary_parts(torch.tensor([[0.5, 0.25]])) is None
        True
    """
    weight = weight.detach()
    magnitude = by_group(weight, "channel").abs()
    scale = magnitude.amax(1, keepdim=True)
    if not ((magnitude == 0) | (magnitude == scale)).all():
        return None
    used = scale[scale > 0].unique()
    if len(used) <= 1:
        scale = used.reshape(-1, 1) if len(used) else scale.new_ones(1, 1)
    return weight.sign().to(torch.int8), scale.reshape(-1, *[1] * (weight.dim() - 1)).to(weight.dtype)
