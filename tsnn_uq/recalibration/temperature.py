"""Temperature scaling: one parameter that softens or sharpens all predictions and never changes the decision."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from tsnn_uq.checks import InputError, check_positive
from tsnn_uq.recalibration.base import Recalibrator, mean_log_probabilities

__all__ = ["Outcome", "TemperatureScaling", "best_temperature", "likelihood_losses"]

Outcome = Literal["optimum", "flat", "lower bound", "upper bound"]
"""How a search for the most likely temperature ended."""
_GRID = 17  # temperatures tried before refining the best one
_SAME = 1e-12  # relative difference of two mean losses that is rounding


def likelihood_losses(logs: Tensor, target: Tensor, temperature: float | Tensor) -> Tensor:
    """Negative log-likelihood in nats of each input [N], of logits [N, C] or [S, N, C] divided by a temperature."""
    return -mean_log_probabilities(logs / temperature).gather(1, target[:, None])[:, 0]


def best_temperature(
    logs: Tensor, target: Tensor, lowest: float, highest: float, *, rounding: float
) -> tuple[float, Outcome]:
    """The most likely temperature between two bounds, and how the search for it ended.

    The minimum is bracketed on a grid of log T; then the zero of the derivative is found to 1e-10.

    Args:
        logs: logits [N, C] or [S, N, C] in float64.
        target: class numbers [N], int64.
        lowest: lower bound of T.
        highest: upper bound of T.
        rounding: relative rounding error of the probabilities that `logs` come from.

    Returns:
        T and "optimum"; or a bound and its name, if the likelihood still rises towards it or is constant from there on;
        or 1 and "flat", if no temperature changes the likelihood of any input by more than rounding.
    """
    from scipy.optimize import brentq, minimize_scalar

    def loss(log_temperature: float) -> float:
        return likelihood_losses(logs, target, math.exp(log_temperature)).mean().item()

    def slope(log_temperature: float) -> float:
        at = torch.tensor(log_temperature, dtype=logs.dtype, device=logs.device, requires_grad=True)
        with torch.enable_grad():
            mean = likelihood_losses(logs, target, at.exp()).mean()
        return torch.autograd.grad(mean, at)[0].item()

    grid = torch.linspace(math.log(lowest), math.log(highest), _GRID, dtype=torch.float64).tolist()
    of_inputs = [likelihood_losses(logs, target, math.exp(point)) for point in grid]
    # Dividing by T multiplies the rounding errors of the logarithms.
    noise = [4 * rounding * (1 + math.exp(-point)) for point in grid]
    if all((one - of_inputs[-1]).abs().max() <= most for one, most in zip(of_inputs, noise, strict=True)):
        return min(max(1.0, lowest), highest), "flat"
    losses = [one.mean().item() for one in of_inputs]
    best = losses.index(min(losses))
    least = losses[best] * (1 + _SAME) + _SAME
    if losses[0] <= least and slope(grid[0]) >= -_SAME:
        return lowest, "lower bound"
    if losses[-1] <= least and slope(grid[-1]) <= _SAME:
        return highest, "upper bound"
    low, high = grid[max(best - 1, 0)], grid[min(best + 1, _GRID - 1)]
    if slope(low) < 0 < slope(high):
        return math.exp(brentq(slope, low, high, xtol=1e-10)), "optimum"
    # Near the best grid point the mean over samples may be flat, so its derivative may not bracket the minimum.
    return math.exp(minimize_scalar(loss, bounds=(low, high), method="bounded", options={"xatol": 1e-10}).x), "optimum"


class TemperatureScaling(Recalibrator):
    r"""Divide the logits by the temperature that makes held-out labels most likely.

    .. math:: q_c \propto p_c^{1 / T}, \qquad T = \arg\min_T -\sum_n \log \bar q_{n y_n}, \qquad
              \bar q_n = \frac1S \sum_s q_{sn}

    (Guo et al. 2017, arXiv 1706.04599.) On [N, C] this is standard temperature scaling. On Monte Carlo probabilities
    [S, N, C] one temperature divides the logits of every sample and maximizes the likelihood of the *mean* prediction.
    This differs from the temperature of the mean's logits, since averaging also softens.

    Held-out inputs may not determine T. If all predictions are right, the likelihood grows as T falls, and T ends at
    the lower bound; if all are wrong, it ends at the upper one; if all are uniform, the likelihood is constant, and T
    is 1. `outcome` reports these cases; such a T is not a measurement.

    Args:
        lowest: lower bound of T.
        highest: upper bound of T.

    Attributes:
        temperature: T, once `fit` was called, else None.
        outcome: "optimum" if the held-out inputs determine T, else "flat", "lower bound" or "upper bound"; None before
            `fit` was called.

    Example:
        >>> probs, target = torch.tensor([[0.9, 0.1]] * 4), torch.tensor([0, 0, 0, 1])
        >>> scaling = TemperatureScaling().fit(probs, target)
        >>> scaling.transform(probs[:1])
        tensor([[0.7500, 0.2500]])
        >>> round(scaling.temperature, 4), scaling.outcome
        (2.0, 'optimum')
        >>> TemperatureScaling().fit(probs, torch.zeros(4, dtype=torch.long)).outcome
        'lower bound'
    """

    def __init__(self, lowest: float = 0.01, highest: float = 100.0) -> None:
        check_positive("lowest", lowest)
        check_positive("highest", highest)
        if lowest >= highest:
            raise InputError(f"lowest, highest: expected lowest < highest; got {lowest} and {highest}")
        self.lowest, self.highest = lowest, highest
        self.temperature: float | None = None
        self.outcome: Outcome | None = None

    @property
    def at_bound(self) -> bool:
        """Whether T ended at a bound, so that the data do not determine it."""
        return self.outcome in ("lower bound", "upper bound")

    @property
    def determined(self) -> bool:
        """Whether the likelihood has its maximum at T."""
        return self.outcome == "optimum"

    def _fit(self, probs: Tensor, logs: Tensor, target: Tensor) -> None:
        rounding = torch.finfo(probs.dtype).eps
        self.temperature, self.outcome = best_temperature(logs, target, self.lowest, self.highest, rounding=rounding)

    def _transform(self, probs: Tensor, logs: Tensor) -> Tensor:
        assert self.temperature is not None
        return (logs / self.temperature).softmax(-1)
