r"""A linear mixed model of a measure over families, methods and seeds, with its effects integrated out.

.. math:: y_{fts} = \mu_f + \delta_t + \gamma_{ft} + u_{fs} + \varepsilon_{fts}

for family f, treatment t (quantized part and method) and seed s, on the scale that
`tsnn_uq.results.bayesian_comparison.measure_scales` defines:

- :math:`\mu_f, \delta_t \sim N(0, 2^2)`: families, and methods, differ by factors of up to about e^4,
- :math:`\gamma_{ft} \sim N(0, \tau^2)`: a method's effect in one family is pooled with those in the others,
- :math:`u_{fs} \sim N(0, \upsilon^2)`: networks of a family with one seed share initialization and order of the data,
- :math:`\varepsilon \sim N(0, \sigma_m^2)`: the rest, with a separate scatter for each method m.

The logarithms of the scales :math:`\theta = \log(\tau, \upsilon, \sigma_1, ..., \sigma_K)` are Gaussian with mean
log 0.1 (a scatter of 10 %). Their standard deviation is 1 for tau and upsilon (95 % between 1.4 % and 71 %). The sigmas
have a common part with standard deviation 1.5 and individual parts with 0.5.

Given the scales, everything is Gaussian (Laird and Ware, Biometrics 1982). NUTS therefore samples only 2 + K
dimensions, without funnels, and the effects are drawn exactly. A non-centred form would only move the funnel.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from tsnn_uq.results.bayesian_comparison.design import Design, incidence
from tsnn_uq.results.bayesian_comparison.measure_scales import Array

__all__ = ["Kernels", "Potential", "covariances", "group_means", "make_kernels", "pyro_model"]

WIDE = 2.0
TYPICAL = math.log(0.1)
SPREAD_OF_LOG, SPREAD_OF_SHARED, SPREAD_OF_OWN = 1.0, 1.5, 0.5


@dataclass(frozen=True)
class Kernels:
    """The parts of the covariance of N rows in G groups, and the prior of the log scales [2 + K].

    Attributes:
        fixed: [N, N], covariance of family and treatment means.
        varying: [2 + K, N, N], the factors of the squared scales: same group, same seed, and each method's diagonal.
        rows: [N, G], 1 if a row belongs to a group.
        seeds: [N, number of seeds of all families], 1 if a row has the family's seed.
        effects: [G, families + treatments], the groups' loadings on standard normal family and treatment means.
        method: [N], the index of each row's method.
        prior: [2 + K, 2 + K], covariance of the log scales.
    """

    fixed: Tensor
    varying: Tensor
    rows: Tensor
    seeds: Tensor
    effects: Tensor
    method: Tensor
    prior: Tensor


def make_kernels(design: Design) -> Kernels:
    """The kernels of a design."""
    rows, seeds, methods = (incidence(numbers) for numbers in (design.group, design.seed, design.method))
    effects = WIDE * torch.cat([incidence(design.block_of), incidence(design.treatment_of)], 1)
    means = rows @ effects
    count = len(design.methods)
    prior = torch.eye(2 + count, dtype=torch.float64) * SPREAD_OF_LOG**2
    prior[2:, 2:] = SPREAD_OF_SHARED**2 + SPREAD_OF_OWN**2 * torch.eye(count, dtype=torch.float64)
    varying = torch.stack([rows @ rows.T, seeds @ seeds.T, *(column.diag() for column in methods.T)])
    return Kernels(means @ means.T, varying, rows, seeds, effects, torch.from_numpy(design.method), prior)


def pyro_model(kernels: Kernels, y: Tensor | None, measures: int = 1) -> None:
    """The model in Pyro, for M independent measures: sites ``log_scales`` [M, 2 + K] and ``y`` [M, N]."""
    import pyro
    from pyro import distributions as dist

    center = torch.full((len(kernels.prior),), TYPICAL, dtype=torch.float64)
    with pyro.plate("measure", measures):
        log_scales = pyro.sample("log_scales", dist.MultivariateNormal(center, kernels.prior))
        covariance = covariances(kernels, log_scales)
        zero = kernels.fixed.new_zeros(len(kernels.fixed))
        pyro.sample("y", dist.MultivariateNormal(zero, covariance), obs=y)


def covariances(kernels: Kernels, log_scales: Tensor) -> Tensor:
    """[..., 2 + K] log scales -> [..., N, N] covariances of the rows."""
    return kernels.fixed + torch.einsum("...k,kij->...ij", (2 * log_scales).exp(), kernels.varying)


class Potential:
    r"""Negative log posterior density of M measures' log scales, and its gradient, in closed form.

    With covariance C, :math:`\alpha = C^{-1} y` and :math:`\partial C / \partial \theta_k = 2 e^{2 \theta_k} K_k`,

    .. math:: U = \tfrac12 y^T \alpha + \tfrac12 \log|C| + \tfrac12 z^T P^{-1} z + const, \qquad
        \partial U / \partial \theta_k = e^{2 \theta_k} \operatorname{tr}[(C^{-1} - \alpha \alpha^T) K_k] + (P^{-1} z)_k

    where z is the distance from the prior's mean, and P its covariance (Rasmussen and Williams 2006, eq. 5.9). It is
    several times faster than automatic differentiation through `pyro_model`; a test compares the two.
    """

    def __init__(self, kernels: Kernels, y: Array) -> None:
        """Take `kernels` and the rows' values `y` [M, N]."""
        self.y = y
        self.fixed = kernels.fixed.numpy()
        self.varying = kernels.varying.flatten(1).T.contiguous().numpy()  # [N * N, 2 + K]
        self.precision = np.linalg.inv(kernels.prior.numpy())

    def __call__(self, log_scales: Array) -> tuple[float, Array]:
        """The sum over measures, and the gradient [M, 2 + K]; infinite if a covariance is numerically singular."""
        squared = np.exp(2 * log_scales.clip(-50, 50))
        covariance = (squared @ self.varying.T).reshape(-1, *self.fixed.shape) + self.fixed
        try:
            factor = np.linalg.cholesky(covariance)
            inverse = np.linalg.inv(covariance)
        except np.linalg.LinAlgError:  # while NUTS searches for a step size; infinity rejects it
            return math.inf, np.zeros_like(log_scales)
        alpha = (inverse @ self.y[..., None])[..., 0]
        away = log_scales - TYPICAL
        pull = away @ self.precision
        half_log_det = np.log(np.diagonal(factor, axis1=-2, axis2=-1)).sum()
        value = (alpha * self.y).sum() / 2 + half_log_det + (pull * away).sum() / 2
        weights = inverse - alpha[:, :, None] * alpha[:, None, :]
        return float(value), squared * (weights.reshape(len(self.y), -1) @ self.varying) + pull


def group_means(kernels: Kernels, y: Tensor, log_scales: Tensor, generator: torch.Generator) -> Tensor:
    """Draw the groups' means given the scales, exactly: one posterior draw [D, G] for each [D, 2 + K] of `log_scales`.

    By Matheron's rule (Wilson et al., ICML 2020): draw effects and rows from the prior, then correct the effects by
    the difference between the data and these rows. `y` is [N].
    """

    def noise(width: int) -> Tensor:
        return torch.randn(len(log_scales), width, generator=generator, dtype=torch.float64)

    scales = log_scales.exp()
    effects, rows = kernels.effects, kernels.rows
    means = noise(effects.shape[1]) @ effects.T + scales[:, :1] * noise(len(effects))
    shared = scales[:, 1:2] * noise(kernels.seeds.shape[1]) @ kernels.seeds.T
    fantasy = means @ rows.T + shared + scales[:, 2:][:, kernels.method] * noise(len(rows))
    factor = torch.linalg.cholesky(covariances(kernels, log_scales))
    alpha = torch.cholesky_solve((y - fantasy)[..., None], factor)[..., 0] @ rows
    return means + alpha @ (effects @ effects.T) + scales[:, :1] ** 2 * alpha
