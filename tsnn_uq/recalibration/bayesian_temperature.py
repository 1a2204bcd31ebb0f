"""Temperature scaling with a posterior of the temperature given the validation split."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from tsnn_uq.checks import InputError, check_fraction, check_positive
from tsnn_uq.recalibration.base import Recalibrator
from tsnn_uq.recalibration.temperature import Outcome, best_temperature, likelihood_losses

__all__ = ["BayesianTemperatureScaling"]

_REACH = 8.0  # standard deviations on either side of the mode
_COARSE = 33  # grid points that locate the posterior
_FINE = 20_001  # grid points for its quantiles


class BayesianTemperatureScaling(Recalibrator):
    r"""Temperature scaling whose predictions are averaged over the posterior of the temperature.

    .. math:: p(w \mid D) \propto \mathcal N(w; 1, \tau^2) \prod_n \bar q_{n y_n}(w), \quad w = 1 / T > 0, \qquad
              q = \int q(w) \, p(w \mid D) \, dw

    The model and the prior (tau = 10) are netcal's (Küppers et al. 2021, arXiv 2109.10092), which draws from the
    posterior by NUTS or fits a Gaussian to it. With one parameter the posterior can be computed on a grid instead:
    nothing is random, and moments and predictions are exact up to the quadrature error of `points` points. The grid
    covers the bulk of the posterior mass in log w. Monte Carlo probabilities [S, N, C] are fitted as by
    `TemperatureScaling`.

    Args:
        prior_std: tau.
        points: number of grid points.

    Attributes:
        inverse_temperatures: the grid of w [points], once fitted, else None.
        weights: posterior probability of each [points], float64, sum 1.
        outcome: that of `TemperatureScaling` on the same inputs. Unless it is "optimum", the likelihood does not bound
            T on one side or on both; there the posterior equals the prior, and its mean is not informative.

    Example:
        >>> probs, target = torch.tensor([[0.9, 0.1]] * 400), torch.tensor([0, 0, 0, 1] * 100)
        >>> scaling = BayesianTemperatureScaling().fit(probs, target)
        >>> scaling.interval(0.9)[0] < 2.0 < scaling.interval(0.9)[1]
        True
    """

    def __init__(self, prior_std: float = 10.0, points: int = 41) -> None:
        check_positive("prior_std", prior_std)
        check_positive("points", points, integer=True)
        if points < 3:
            raise InputError(f"points: expected 3 or more; got {points}")
        self.prior_std, self.points = prior_std, points
        self.inverse_temperatures: Tensor | None = None
        self.weights: Tensor | None = None
        self.outcome: Outcome | None = None

    @property
    def determined(self) -> bool:
        """Whether the likelihood alone has a maximum at a finite temperature."""
        return self.outcome == "optimum"

    def _fit(self, probs: Tensor, logs: Tensor, target: Tensor) -> None:
        def log_density(log_w: Tensor) -> Tensor:
            """Of log w, up to a constant [points]."""
            likelihood = [-likelihood_losses(logs, target, math.exp(-point)).sum() for point in log_w.tolist()]
            prior = -((log_w.exp() - 1) ** 2) / (2 * self.prior_std**2) + log_w  # the last term is the change to log w
            return torch.stack(likelihood).cpu() + prior

        low, high = math.log(1e-3), math.log(max(100.0, 1 + _REACH * self.prior_std))
        rounding = torch.finfo(probs.dtype).eps
        _, self.outcome = best_temperature(logs, target, math.exp(-high), math.exp(-low), rounding=rounding)
        for _ in range(12):  # zoom in until the interval ends where the density vanishes
            grid = torch.linspace(low, high, _COARSE, dtype=torch.float64)
            density = log_density(grid)
            inside = (density > density.max() - _REACH**2 / 2).nonzero().flatten()
            first, last = max(int(inside[0]) - 1, 0), min(int(inside[-1]) + 1, _COARSE - 1)
            if last - first > _COARSE // 2:
                break
            low, high = grid[first].item(), grid[last].item()
        grid = torch.linspace(low, high, self.points, dtype=torch.float64)
        self.weights = log_density(grid).softmax(0)
        self.inverse_temperatures = grid.exp()

    def _transform(self, probs: Tensor, logs: Tensor) -> Tensor:
        assert self.inverse_temperatures is not None
        assert self.weights is not None
        mean = torch.zeros_like(logs)
        for w, weight in zip(self.inverse_temperatures.tolist(), self.weights.tolist(), strict=True):
            mean += weight * (w * logs).softmax(-1)
        return mean

    @property
    def temperature(self) -> float:
        """Posterior mean of T = 1 / w."""
        return self._posterior()[0].reciprocal().dot(self._posterior()[1]).item()

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Central interval of T that holds a share of `level` of the posterior."""
        check_fraction("level", level, below_one=True)
        low, high = self._quantiles(torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=torch.float64)).tolist()
        return low, high

    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        """Draws of T from the posterior, float64 [count]."""
        check_positive("count", count, integer=True)
        return self._quantiles(torch.rand(count, dtype=torch.float64, generator=generator))

    def _quantiles(self, shares: Tensor) -> Tensor:
        """Quantiles of T under the posterior."""
        from scipy.interpolate import CubicSpline

        grid, weights = self._posterior()
        # The log density is nearly a parabola in log w, so a spline through few points interpolates it well.
        logs = weights.clamp_min(torch.finfo(weights.dtype).tiny).log()
        low, high = grid.log()[[0, -1]].tolist()
        fine = torch.linspace(low, high, _FINE, dtype=torch.float64)
        below = torch.as_tensor(CubicSpline(grid.log(), logs)(fine)).softmax(0).cumsum(0)
        return (-fine[torch.searchsorted(below, 1 - shares).clamp_max(_FINE - 1)]).exp()

    def _posterior(self) -> tuple[Tensor, Tensor]:
        if self.inverse_temperatures is None or self.weights is None:
            raise InputError("BayesianTemperatureScaling: expected fit to be called first; it was not")
        return self.inverse_temperatures, self.weights
