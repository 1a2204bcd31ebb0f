r"""The noise that random weights cause in a layer's outputs, for weights that are constant over time.

With independent weights of variance :math:`v_i`, an output :math:`y_t = \sum_i x_{ti} w_i` has

.. math:: \operatorname{Cov}(y_t, y_{t'}) = \sum_i x_{ti} x_{t'i} v_i,

and is approximately normal if many inputs are active (central limit theorem). Drawing outputs instead of weights is
local reparameterization (Kingma et al., 2015; for discrete weights Shayer, Levi and Fetaya, 2018): each input of a
batch has its own noise at the cost of one draw, and discrete weights have a gradient. A spiking network has one output
per time step, and these outputs are correlated. There are two methods:

- ``"exact"``: the T (T + 1) / 2 covariances of an output, and their Cholesky factor. Noise is independent between
  inputs and between outputs, which minimizes the variance of the gradient, but the cost grows with T^2.
- ``"flipout"`` (Wen et al., 2018): one normal draw D of all weights, with signs r and s of each input's outputs and
  inputs, y_n = r_n * D (s_n * x_n). The moments of each input's outputs over time are exact for any T, at twice the
  cost of a layer; different inputs are uncorrelated, but not independent.

The third way is not to draw outputs: ``"weights"`` computes them with one draw of the weights for all inputs of a batch
(`tsnn_uq.bayes.weight_distributions.WeightFamily.rsample`), without the normal approximation. The outputs of different
inputs are then dependent, and the gradient is noisier.

In a convolution ``"exact"`` draws independent noise for each position of an image, an approximation that Kingma et al.
and Shayer et al. also make; ``"flipout"`` does not.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["MOST_STEPS", "NOISES", "correlate", "exact_noise", "flipout_noise"]

NOISES = ("auto", "exact", "flipout", "weights")
MOST_STEPS = 8
"""Number of steps up to which ``"auto"`` uses ``"exact"``."""
JITTER = 1e-3

Layer = Callable[[Tensor, Tensor], Tensor]
"""Maps inputs and weights to weighted sums, without a bias."""


def exact_noise(layer: Layer, inputs: Tensor, variance: Tensor, generator: torch.Generator) -> Tensor:
    """Normal noise with the exact covariance over time.

    Args:
        layer: weighted sums [K, N, ...] of inputs [K, N, ...].
        inputs: [T, N, ...].
        variance: variance of the weights.
        generator: source of the noise.

    Returns:
        Noise [T, N, ...] to add to the outputs.
    """
    first, second = torch.triu_indices(len(inputs), len(inputs))
    covariance = layer(inputs[first] * inputs[second], variance)
    epsilon = covariance.new_empty(len(inputs), *covariance.shape[1:]).normal_(generator=generator)
    return correlate(covariance, epsilon)


def correlate(covariance: Tensor, epsilon: Tensor) -> Tensor:
    """Give independent standard normals a covariance over the first axis: L epsilon, with the Cholesky factor L.

    It loops over the few time steps, with vector operations over all inputs and outputs. A thousandth of each variance
    and of their mean is added to the diagonal, since the factor is singular, with an infinite gradient, if two steps
    have the same inputs.

    Args:
        covariance: the upper triangle [T (T + 1) / 2, ...], row by row.
        epsilon: [T, ...].

    Returns:
        [T, ...].
    """
    steps = len(epsilon)
    tiny = torch.finfo(covariance.dtype).tiny
    if steps == 1:
        return (covariance.clamp(min=0) + tiny).sqrt() * epsilon
    of = {pair: part for pair, part in zip(_pairs(steps), covariance, strict=True)}
    floor = JITTER * torch.stack([of[t, t] for t in range(steps)]).detach().mean() + tiny
    factor: dict[tuple[int, int], Tensor] = {}
    for column in range(steps):
        rest = of[column, column] - sum(factor[column, k].square() for k in range(column))
        pivot = (rest.clamp(min=0) + JITTER * of[column, column].clamp(min=0) + floor).sqrt()
        factor[column, column] = pivot
        for row in range(column + 1, steps):
            rest = of[column, row] - sum(factor[row, k] * factor[column, k] for k in range(column))
            factor[row, column] = rest / pivot
    rows = (sum(factor[row, k] * epsilon[k] for k in range(row + 1)) for row in range(steps))
    return torch.stack([row for row in rows if isinstance(row, Tensor)])


def _pairs(steps: int) -> list[tuple[int, int]]:
    return [(first, second) for first in range(steps) for second in range(first, steps)]


def flipout_noise(layer: Layer, inputs: Tensor, variance: Tensor, generator: torch.Generator) -> Tensor:
    """Noise of one normal draw of the weights, with random signs for each input; arguments as in `exact_noise`."""
    std = (variance + torch.finfo(variance.dtype).tiny).sqrt()
    draw = std * torch.empty_like(variance).normal_(generator=generator)
    sums = layer(inputs * _signs(inputs, generator), draw)
    return sums * _signs(sums, generator)


def _signs(values: Tensor, generator: torch.Generator) -> Tensor:
    """-1 or 1 for each input n and unit, or channel, of `values` [T, N, units, ...]."""
    signs = values.new_empty(1, *values.shape[1:3], *[1] * (values.dim() - 3))
    return signs.bernoulli_(0.5, generator=generator).mul_(2).sub_(1)
