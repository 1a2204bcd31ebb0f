"""The change of the predictions by quantization, as a loss term."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional

from tsnn_uq.checks import InputError, check_fraction, check_positive, describe
from tsnn_uq.metrics.functional import predictive_variance
from tsnn_uq.quantization import float_weights
from tsnn_uq.training.batch_layout import Forward
from tsnn_uq.training.regularizers.base import WholePassRegularizer

__all__ = ["QuantizationGapRegularizer", "quantization_gap"]


def quantization_gap(ternary: Tensor, full: Tensor, *, variance: float = 1.0) -> Tensor:
    """Distance between a ternary network's stochastic predictions and those of its float copy.

    KL(mean of `full` || mean of `ternary`) + `variance` * |V(full) - V(ternary)|, mean over inputs, with the unbiased
    predictive variance V. Use the same masks for both, so that only quantization makes a difference.

    Args:
        ternary: logits [M, N, C] of M stochastic passes.
        full: the same for the float copy.
        variance: weight of the variances; 0 with a single pass.

    Returns:
        Scalar; the first term in nats.

    Raises:
        InputError: the shapes differ or are not [M, N, C].

    Example:
        >>> import torch
        >>> logits = torch.tensor([[[0.0, 1.0]], [[2.0, 0.0]]])
        >>> quantization_gap(logits, logits)
        tensor(0.)
    """
    if ternary.dim() != 3 or ternary.shape != full.shape:
        raise InputError(f"full: expected logits [M, N, C] like {describe(ternary)}; got {describe(full)}")
    ours, theirs = (logits.log_softmax(-1).logsumexp(0) - math.log(len(logits)) for logits in (ternary, full))
    divergence = functional.kl_div(ours, theirs, reduction="batchmean", log_target=True)
    if variance == 0:
        return divergence
    spreads = [
        predictive_variance(logits.softmax(-1), unbiased=True, reduction="none", validate=False)
        for logits in (ternary, full)
    ]
    return divergence + variance * (spreads[1] - spreads[0]).abs().mean()


@dataclass(frozen=True)
class QuantizationGapRegularizer(WholePassRegularizer):
    """The `quantization_gap` between a ternary network and the float copy of its weights, under the same masks.

    It needs the method direct, which has a float copy. The copy is trained only through the ternary network and is not
    a teacher: the gradient flows to both, and leads to weights that lose little in quantization. The batch runs a
    second time.

    Args:
        variance: weight of the difference of variances.
        share: share of a batch's images that it uses, above 0.

    Raises:
        InputError: an argument is out of range.
    """

    passes = 2
    variance: float = 1.0
    share: float = 0.25

    def __post_init__(self) -> None:
        if self.variance:
            check_positive("variance", self.variance)
        check_fraction("share", self.share)
        check_positive("share", self.share)

    def term(self, forward: Forward) -> Tensor:
        """The gap, a scalar; raises `InputError` if no layer has a float copy."""
        with float_weights(forward.model):
            full = forward.again()
        return quantization_gap(forward.mc_logits, full, variance=self.variance)
