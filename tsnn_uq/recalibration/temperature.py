"""Temperature scaling: one number that softens or sharpens all predictions and never changes a decision."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from tsnn_uq.checks import InputError, check_positive
from tsnn_uq.recalibration.base import Recalibrator, mean_log_probabilities

__all__ = ["TemperatureScaling", "likelihood_losses"]

_GRID = 17  # temperatures tried before the best of them is refined


def likelihood_losses(logs: Tensor, target: Tensor, temperature: float | Tensor) -> Tensor:
    """Negative log-likelihood in nats of each input [N], of logits [N, C] or [S, N, C] divided by a temperature."""
    return -mean_log_probabilities(logs / temperature).gather(1, target[:, None])[:, 0]


class TemperatureScaling(Recalibrator):
    r"""Divide the logits by the temperature that makes held-out labels most likely.

    .. math:: q_c \propto p_c^{1 / T}, \qquad T = \arg\min_T -\sum_n \log \bar q_{n y_n}, \qquad
              \bar q_n = \frac1S \sum_s q_{sn}

    (Guo et al. 2017, arXiv 1706.04599.) On [N, C] this is temperature scaling as usual. On Monte Carlo probabilities
    [S, N, C] one temperature divides the logits of every sample, and it is the *mean* prediction that is made likely;
    that is not the temperature of the mean's own logits, since averaging softens too.

    The minimum over log T is bracketed on a grid and is then where the derivative changes sign, to 1e-10. Where all
    predictions are right the likelihood grows without end as T falls, and T ends at the lower bound: see `at_bound`.

    Args:
        lowest: lower bound of T.
        highest: upper bound of T.

    Attributes:
        temperature: T, once `fit` was called, else None.
        at_bound: whether T ended at a bound, so that the data do not determine it.

    Example:
        >>> probs, target = torch.tensor([[0.9, 0.1]] * 4), torch.tensor([0, 0, 0, 1])
        >>> scaling = TemperatureScaling().fit(probs, target)
        >>> scaling.transform(probs[:1])
        tensor([[0.7500, 0.2500]])
        >>> round(scaling.temperature, 4)
        2.0
    """

    def __init__(self, lowest: float = 0.01, highest: float = 100.0) -> None:
        check_positive("lowest", lowest)
        check_positive("highest", highest)
        if lowest >= highest:
            raise InputError(f"lowest, highest: expected lowest < highest; got {lowest} and {highest}")
        self.lowest, self.highest = lowest, highest
        self.temperature: float | None = None
        self.at_bound = False

    def _fit(self, probs: Tensor, logs: Tensor, target: Tensor) -> None:
        from scipy.optimize import brentq

        def slope(log_temperature: float) -> float:
            at = torch.tensor(log_temperature, dtype=logs.dtype, device=logs.device, requires_grad=True)
            with torch.enable_grad():
                loss = likelihood_losses(logs, target, at.exp()).mean()
            return torch.autograd.grad(loss, at)[0].item()

        grid = torch.linspace(math.log(self.lowest), math.log(self.highest), _GRID, dtype=torch.float64).tolist()
        losses = [likelihood_losses(logs, target, math.exp(point)).mean().item() for point in grid]
        best = losses.index(min(losses))
        low, high = grid[max(best - 1, 0)], grid[min(best + 1, _GRID - 1)]
        self.at_bound = not slope(low) < 0 < slope(high)
        self.temperature = math.exp(grid[best] if self.at_bound else brentq(slope, low, high, xtol=1e-10))

    def _transform(self, probs: Tensor, logs: Tensor) -> Tensor:
        assert self.temperature is not None
        return (logs / self.temperature).softmax(-1)
