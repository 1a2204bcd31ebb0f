"""Losses of stopping early, and p-values of the hypothesis that their mean exceeds a bound."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.special import bdtr, rel_entr
from torch import Tensor

__all__ = ["RISKS", "Losses", "Risk", "losses_by_step", "p_values"]

Risk = Literal["accuracy-gap", "disagreement", "brier-gap", "exited-error"]
RISKS = ("accuracy-gap", "disagreement", "brier-gap", "exited-error")


class Losses(NamedTuple):
    """The loss of each input for leaving after each step."""

    values: Tensor  #: float64 [T, N], in [0, 1]
    binary: bool  #: whether all are 0 or 1
    early_only: bool = False  #: whether the risk averages only inputs that leave before step T

    def of(self, inputs: Tensor) -> Losses:
        """Select the losses of some inputs."""
        return self._replace(values=self.values[:, inputs])


def losses_by_step(risk: Risk, probs: Tensor, target: Tensor) -> Losses:
    """The losses of a risk, of mean predictions [T, N, C] and labels [N]; see `RiskControlledExit`."""
    decisions = probs.argmax(-1)
    right = decisions == target
    if risk == "accuracy-gap":
        return Losses((right[-1] & ~right).double(), binary=True)
    if risk == "disagreement":
        return Losses((decisions != decisions[-1]).double(), binary=True)
    if risk == "exited-error":
        wrong = (~right).double()
        wrong[-1] = 0.0  # does not count
        return Losses(wrong, binary=True, early_only=True)
    brier = (probs - torch.nn.functional.one_hot(target, probs.shape[-1])).square().sum(-1)
    return Losses(((brier - brier[-1]) / 2).clamp(0, 1), binary=False)


def p_values(losses: ArrayLike, counts: ArrayLike, epsilon: float, *, binary: bool) -> NDArray[np.float64]:
    r"""P-values of the hypothesis that a mean loss exceeds `epsilon`, from independent losses in [0, 1].

    With the sum L of n losses, R = L / n, and B binomial with n trials of probability epsilon,

    .. math:: p = P(B \le L) \text{ if losses are 0 or 1, else } p = \min\left(
              \exp(-n \, h(\min(R, \epsilon), \epsilon)), \; e \, P(B \le \lceil L \rceil)\right),

    with :math:`h(a, b) = a \log(a / b) + (1 - a) \log((1 - a) / (1 - b))`. The first is the exact binomial tail, the
    second the Hoeffding-Bentkus bound (Bates et al. 2021, arXiv 2101.02703; Angelopoulos et al. 2021, arXiv 2110.01052,
    proposition 1). Under the hypothesis, P(p <= u) <= u for every u. Without losses p = 1.

    Args:
        losses: sums of losses, of any shape.
        counts: numbers of summed losses, whole numbers that broadcast against `losses`.
        epsilon: between 0 and 1.
        binary: whether each loss is 0 or 1.

    Returns:
        P-values of the broadcast shape.

    Example:
        >>> p_values([0, 1, 1.5], 30, 0.1, binary=True).round(4)
        array([0.0424, 0.1837, 0.1837])
    """
    total, count = np.broadcast_arrays(np.asarray(losses, np.float64), np.asarray(counts, np.int64))
    trials = np.maximum(count, 1)
    if binary:
        p = bdtr(np.floor(total), trials, epsilon)
    else:
        mean = np.minimum(total / trials, epsilon)
        hoeffding = np.exp(-trials * (rel_entr(mean, epsilon) + rel_entr(1 - mean, 1 - epsilon)))
        p = np.minimum(hoeffding, np.e * bdtr(np.minimum(np.ceil(total), trials), trials, epsilon))
    return np.where(count > 0, np.minimum(p, 1.0), 1.0)
