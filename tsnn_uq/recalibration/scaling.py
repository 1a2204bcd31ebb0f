"""Vector, Dirichlet and beta scaling: softmax regression on log-probabilities, fitted by maximum likelihood."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from tsnn_uq.checks import InputError, describe
from tsnn_uq.recalibration.base import Recalibrator, mean_log_probabilities

__all__ = ["BetaScaling", "DirichletScaling", "VectorScaling"]


def _minimize(loss: Callable[[Tensor], Tensor], start: Tensor, lower: float | None = None, bounded: int = 0) -> Tensor:
    """L-BFGS-B (scipy) with gradients by autograd, all in float64; the first `bounded` numbers stay above `lower`."""
    from scipy.optimize import minimize

    def value_and_gradient(flat: Any) -> tuple[float, Any]:
        parameters = torch.tensor(flat, dtype=torch.float64, device=start.device, requires_grad=True)
        with torch.enable_grad():
            value = loss(parameters)
        return value.item(), torch.autograd.grad(value, parameters)[0].cpu().numpy()

    bounds = [(lower, None)] * bounded + [(None, None)] * (len(start) - bounded)
    options = {"maxiter": 2000, "maxfun": 4000, "ftol": 1e-12, "gtol": 1e-7, "maxcor": 20}
    found = minimize(
        value_and_gradient, start.cpu().numpy(), jac=True, method="L-BFGS-B", bounds=bounds, options=options
    )
    return torch.tensor(found.x, dtype=torch.float64, device=start.device)


def _separated(logs: Tensor, target: Tensor) -> Tensor:
    """Which classes the log-probabilities [N, C] separate from all others without an error: bool [C].

    A single error costs a loss of at least log 2, since the probability of the true class is then at most 1/2.
    """
    of_class = torch.nn.functional.one_hot(target, logs.shape[-1]).bool()
    others = (-torch.expm1(logs.double())).clamp_min(torch.finfo(torch.float64).tiny).log()
    return -torch.where(of_class, logs, others).sum(0) < math.log(2)


class _Scaling(Recalibrator):
    """Base class of maps whose logits are linear in the parameters."""

    parameters: Tensor | None = None  #: all in one vector, float64, once fitted
    #: Which classes [C] the fitted map separates without an error on the held-out inputs, for instance because a class
    #: has no label there. Their parameters have no optimum and are as large as the optimizer made them.
    separated: Tensor | None = None

    @property
    def determined(self) -> bool:
        """Whether no class is `separated`, so that the likelihood has a maximum at finite parameters."""
        return self.separated is not None and not bool(self.separated.any())

    def _logits(self, logs: Tensor, parameters: Tensor) -> Tensor:
        raise NotImplementedError

    def _start(self, classes: int) -> Tensor:
        """The parameters of the identity map."""
        raise NotImplementedError

    def _penalty(self, parameters: Tensor, classes: int) -> Tensor:
        return parameters.new_zeros(())

    def _bounds(self, classes: int) -> tuple[float | None, int]:
        return None, 0

    def _fit(self, probs: Tensor, logs: Tensor, target: Tensor) -> None:
        classes = logs.shape[-1]

        def loss(parameters: Tensor) -> Tensor:
            scaled = mean_log_probabilities(self._logits(logs, parameters))
            return torch.nn.functional.nll_loss(scaled, target) + self._penalty(parameters, classes)

        self.parameters = _minimize(loss, self._start(classes).to(logs.device), *self._bounds(classes))
        self.separated = _separated(mean_log_probabilities(self._logits(logs, self.parameters)), target)

    def _transform(self, probs: Tensor, logs: Tensor) -> Tensor:
        assert self.parameters is not None
        return self._logits(logs, self.parameters.to(logs.device)).softmax(-1)


class VectorScaling(_Scaling):
    r"""A weight and a bias for each class.

    .. math:: q \propto \exp(w \odot \log p + b)

    (Guo et al. 2017, arXiv 1706.04599, on logits; here on log-probabilities, as in netcal, so that a constant
    added to all logits does not matter.) It has 2 C parameters.

    Example:
        >>> probs, target = torch.tensor([[0.9, 0.1], [0.1, 0.9]] * 4), torch.tensor([0, 1, 0, 1, 0, 1, 1, 0])
        >>> VectorScaling().fit(probs, target).transform(probs[:1])
        tensor([[0.7500, 0.2500]])
    """

    def _start(self, classes: int) -> Tensor:
        return torch.cat([torch.ones(classes), torch.zeros(classes)]).double()

    def _logits(self, logs: Tensor, parameters: Tensor) -> Tensor:
        weight, bias = parameters.chunk(2)
        return logs * weight + bias


class DirichletScaling(_Scaling):
    r"""A full matrix applied to the log-probabilities, and a bias.

    .. math:: q \propto \exp(W \log p + b), \qquad
              \text{loss} + \frac{\lambda}{C (C - 1)} \sum_{i \ne j} w_{ij}^2 + \frac{\mu}{C} \sum_i b_i^2

    (Kull et al. 2019, arXiv 1910.12656, with their off-diagonal and intercept regularization.) It has C (C + 1)
    parameters.

    Args:
        off_diagonal: lambda, 0 or more.
        intercept: mu, 0 or more.
    """

    def __init__(self, off_diagonal: float = 1e-3, intercept: float = 1e-3) -> None:
        for name, value in [("off_diagonal", off_diagonal), ("intercept", intercept)]:
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < float("inf"):
                raise InputError(f"{name}: expected a number of 0 or more; got {describe(value)}")
        self.off_diagonal, self.intercept = off_diagonal, intercept

    def _start(self, classes: int) -> Tensor:
        return torch.cat([torch.eye(classes).flatten(), torch.zeros(classes)]).double()

    def _logits(self, logs: Tensor, parameters: Tensor) -> Tensor:
        classes = logs.shape[-1]
        return logs @ parameters[:-classes].unflatten(0, (classes, classes)).T + parameters[-classes:]

    def _penalty(self, parameters: Tensor, classes: int) -> Tensor:
        squares = parameters[:-classes].unflatten(0, (classes, classes)).square()
        off_diagonal = (squares.sum() - squares.trace()) / max(classes * (classes - 1), 1)
        return self.off_diagonal * off_diagonal + self.intercept * parameters[-classes:].square().mean()


class BetaScaling(_Scaling):
    r"""Beta calibration of all classes together: two non-negative weights and a bias for each class.

    .. math:: q_c \propto \exp(a_c \log p_c - b_c \log(1 - p_c) + d_c), \qquad a_c, b_c \ge 0

    (Kull et al. 2017, AISTATS, for two classes; with a softmax over the classes as in netcal.) It has 3 C parameters.
    """

    @property
    def at_bound(self) -> Tensor:
        """Which of the weights a and b [2, C] ended at their bound 0."""
        if self.parameters is None or self.classes is None:
            raise InputError("BetaScaling: expected fit to be called first; it was not")
        return self.parameters[: 2 * self.classes].unflatten(0, (2, -1)) <= 0

    def _start(self, classes: int) -> Tensor:
        return torch.cat([torch.ones(2 * classes), torch.zeros(classes)]).double()

    def _bounds(self, classes: int) -> tuple[float | None, int]:
        return 0.0, 2 * classes

    def _logits(self, logs: Tensor, parameters: Tensor) -> Tensor:
        rises, falls, bias = parameters.chunk(3)
        # log(1 - p) is -inf at p = 1; expm1 keeps full precision near it.
        others = (-torch.expm1(logs)).clamp_min(torch.finfo(logs.dtype).eps).log()
        return logs * rises - others * falls + bias
