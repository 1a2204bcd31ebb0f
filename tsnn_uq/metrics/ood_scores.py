"""Uncertainty scores from one forward pass, for the `ood` and `selective` metrics; high means uncertain.

For Monte Carlo samples, pass the mean prediction, or use `predictive_entropy`, `mutual_information` and the like with
``reduction="none"``.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from tsnn_uq.checks import InputError, check_dims, check_positive, check_probabilities, describe
from tsnn_uq.metrics.base import PerInputMetric
from tsnn_uq.metrics.input_checks import Reduction, at_least_float32, mean_prediction, reduce_inputs

__all__ = [
    "EnergyScore",
    "MaximumLogitScore",
    "MaximumSoftmaxScore",
    "energy_score",
    "maximum_logit_score",
    "maximum_softmax_score",
]


def _as_logits(logits: Tensor, validate: bool) -> Tensor:
    if validate:
        check_dims("logits", logits, "[N, C]")
        if not logits.is_floating_point() or logits.shape[-1] == 0:
            raise InputError(f"logits: expected floating-point numbers, at least one per row; got {describe(logits)}")
        if logits.isnan().any():
            raise InputError(f"logits: expected numbers; got {int(logits.isnan().sum())} NaN")
    return at_least_float32(logits)


def maximum_softmax_score(probs: Tensor, *, reduction: Reduction = "none", validate: bool = True) -> Tensor:
    r"""One minus the confidence in the predicted class.

    .. math:: 1 - \max_c p_c

    See Hendrycks and Gimpel 2017, arXiv 1610.02136.

    Args:
        probs: probabilities [N, C].
        reduction: over the inputs: "none" for a value per input [N], "mean" or "sum".
        validate: False skips the checks of `probs`.

    Returns:
        [N] or a scalar, between 0 and 1 - 1 / C.

    Raises:
        InputError: `probs` are not probabilities, an option is unknown, or the mean of no inputs is requested.

    Example:
        >>> maximum_softmax_score(torch.tensor([[0.75, 0.25], [0.5, 0.5]]))
        tensor([0.2500, 0.5000])
    """
    if validate:
        check_probabilities("probs", probs)
    return reduce_inputs(1 - at_least_float32(probs).amax(-1), reduction)


def maximum_logit_score(logits: Tensor, *, reduction: Reduction = "none", validate: bool = True) -> Tensor:
    r"""Minus the largest logit.

    .. math:: -\max_c z_c

    See Hendrycks et al. 2022, arXiv 1911.11132. Args and errors are those of `energy_score`.

    Returns:
        [N] or a scalar.

    Example:
        >>> maximum_logit_score(torch.tensor([[2.0, -1.0]]))
        tensor([-2.])
    """
    return reduce_inputs(-_as_logits(logits, validate).amax(-1), reduction)


def energy_score(
    logits: Tensor, temperature: float = 1.0, *, reduction: Reduction = "none", validate: bool = True
) -> Tensor:
    r"""Free energy of the logits: low if any class has a high logit.

    .. math:: E = -T \log \sum_c e^{z_c / T}

    See Liu et al. 2020, arXiv 2010.03759. It changes if a constant is added to all logits, so it cannot be computed
    from probabilities.

    Args:
        logits: [N, C].
        temperature: T, above 0.
        reduction: over the inputs: "none" for a value per input [N], "mean" or "sum".
        validate: False skips the checks of `logits`.

    Returns:
        [N] or a scalar; at most `maximum_logit_score`, and at least that minus T log C.

    Raises:
        InputError: `logits` has other axes or holds NaN, an option is out of range, or the mean of no inputs is
            requested.

    Example:
        >>> energy_score(torch.tensor([[0.0, 0.0], [2.0, -1.0]]))
        tensor([-0.6931, -2.0486])
    """
    check_positive("temperature", temperature)
    logits = _as_logits(logits, validate)
    return reduce_inputs(-temperature * (logits / temperature).logsumexp(-1), reduction)


class _PredictionScore(PerInputMetric):
    def _try_options(self) -> None:
        # Validate the options now, not at the first batch.
        type(self).function(torch.full((1, 2), 0.5), **self.options)


class MaximumSoftmaxScore(_PredictionScore):
    """Running `maximum_softmax_score`, by default its mean."""

    function = staticmethod(maximum_softmax_score)

    def update(self, probs: Tensor, target: Tensor | None = None) -> None:
        """Add the inputs of `probs` [N, C] (or [S, N, C], whose mean is scored); `target` is ignored."""
        self._add(mean_prediction(probs, self.sample_dim, self.validate), **self.options)


class _LogitScore(_PredictionScore):
    """Base class of scores of logits [N, C], which have no sample axis."""

    plot_lower_bound = None

    def __init__(self, **options: Any) -> None:
        super().__init__(sample_dim=None, **options)

    def update(self, logits: Tensor, target: Tensor | None = None) -> None:
        """Add the inputs of `logits` [N, C]; `target` is ignored."""
        self._add(logits, **self.options)


class MaximumLogitScore(_LogitScore):
    """Running `maximum_logit_score`, by default its mean."""

    function = staticmethod(maximum_logit_score)


class EnergyScore(_LogitScore):
    """Running `energy_score`, by default its mean; option `temperature`."""

    function = staticmethod(energy_score)
