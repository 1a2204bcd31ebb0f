"""Proper scoring rules (negative log-likelihood, Brier score) and accuracy."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from tsnn_uq.metrics.base import PerInputMetric
from tsnn_uq.metrics.input_checks import Reduction, as_forecast, mean_prediction, reduce_inputs

__all__ = [
    "Accuracy",
    "BrierScore",
    "NegativeLogLikelihood",
    "accuracy",
    "brier_score",
    "negative_log_likelihood",
]


def negative_log_likelihood(
    probs: Tensor, target: Tensor, *, reduction: Reduction = "mean", validate: bool = True
) -> Tensor:
    r"""Minus the logarithm of the probability given to the true class, in nats.

    .. math:: -\log p_y

    (Good 1952). A true class of probability 0 makes the value and the mean infinite; nothing is clipped. Keep
    probabilities in float32, since float16 rounds those below 3e-8 to zero. For Monte Carlo samples, pass the mean
    prediction.

    Args:
        probs: probabilities [N, C].
        target: class numbers [N].
        reduction: over the inputs: "mean", "sum", or "none" for a value per input [N].
        validate: False skips the checks of the inputs.

    Returns:
        A scalar or [N], in nats, 0 or more.

    Raises:
        InputError: `probs` are not probabilities, `target` are not labels of their classes, or the mean of no inputs is
            requested.

    Example:
        >>> negative_log_likelihood(torch.tensor([[0.5, 0.5], [0.25, 0.75]]), torch.tensor([0, 0]), reduction="none")
        tensor([0.6931, 1.3863])
    """
    probs, target = as_forecast(probs, target, validate)
    return reduce_inputs(-probs.gather(-1, target[:, None]).squeeze(-1).clamp_min(0).log(), reduction)


def brier_score(probs: Tensor, target: Tensor, *, reduction: Reduction = "mean", validate: bool = True) -> Tensor:
    r"""Squared distance between the prediction and the one-hot truth, summed over classes (0 to 2).

    .. math:: \sum_c (p_c - [y = c])^2

    (Brier 1950). Other definitions divide by C, or use one of two classes, which halves it. For Monte Carlo samples,
    pass the mean prediction; the mean of the samples' scores is higher by the `predictive_variance`.

    Args and errors are those of `negative_log_likelihood`.

    Returns:
        A scalar or [N].

    Example:
        >>> brier_score(torch.tensor([[0.5, 0.5], [0.0, 1.0]]), torch.tensor([0, 0]), reduction="none")
        tensor([0.5000, 2.0000])
    """
    probs, target = as_forecast(probs, target, validate)
    truth = torch.nn.functional.one_hot(target, probs.shape[-1])
    return reduce_inputs((probs - truth).square().sum(-1), reduction)


def accuracy(probs: Tensor, target: Tensor, *, reduction: Reduction = "mean", validate: bool = True) -> Tensor:
    """Share of inputs whose most probable class is the true one; of equally probable classes, the first counts.

    Args and errors are those of `negative_log_likelihood`.

    Returns:
        A scalar or [N] of 0 and 1, in float32 or the dtype of `probs` if wider.

    Example:
        >>> accuracy(torch.tensor([[0.75, 0.25], [0.25, 0.75]]), torch.tensor([0, 0]))
        tensor(0.5000)
    """
    probs, target = as_forecast(probs, target, validate)
    return reduce_inputs((probs.argmax(-1) == target).to(probs.dtype), reduction)


class _Score(PerInputMetric):
    higher_is_better = False

    def __init__(self, *, sample_dim: int | None = 0, **options: Any) -> None:
        super().__init__(sample_dim=sample_dim, **options)

    def _try_options(self) -> None:
        """The function has no options to validate."""

    def update(self, probs: Tensor, target: Tensor) -> None:  # type: ignore[override]
        """Add `probs` [N, C] (or [S, N, C], whose mean is scored) and `target` [N]."""
        self._add(mean_prediction(probs, self.sample_dim, self.validate), target)


class NegativeLogLikelihood(_Score):
    """Running `negative_log_likelihood`; of samples [S, N, C] it scores the mean prediction."""

    function = staticmethod(negative_log_likelihood)


class BrierScore(_Score):
    """Running `brier_score`; of samples [S, N, C] it scores the mean prediction."""

    function = staticmethod(brier_score)
    plot_upper_bound = 2.0


class Accuracy(_Score):
    """Running `accuracy`; of samples [S, N, C] it scores the mean prediction."""

    function = staticmethod(accuracy)
    is_differentiable = False
    higher_is_better = True
    plot_upper_bound = 1.0
