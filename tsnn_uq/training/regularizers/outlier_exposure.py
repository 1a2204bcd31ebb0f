"""Outlier exposure: train for uniform predictions on outliers."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Generator, Tensor

from tsnn_uq.data.synthetic_outliers import outliers
from tsnn_uq.training.batch_layout import Forward
from tsnn_uq.training.regularizers.base import OwnInputsRegularizer

__all__ = ["OutlierExposure", "divergence_from_uniform"]


def divergence_from_uniform(logits: Tensor) -> Tensor:
    """KL(uniform || softmax of `logits`), in nats: the cross-entropy to the uniform distribution minus log C.

    Args:
        logits: [..., C].

    Returns:
        Scalar, mean over all but the classes.

    Example:
        >>> import torch
        >>> round(divergence_from_uniform(torch.tensor([0.0, 4.0])).item(), 4)
        1.325
    """
    return -logits.log_softmax(-1).mean() - math.log(logits.shape[-1])


@dataclass(frozen=True)
class OutlierExposure(OwnInputsRegularizer):
    """`divergence_from_uniform` of the predictions of outliers (Hendrycks, Mazeika and Dietterich, 2019).

    The outliers are made from the batch's images (`tsnn_uq.data.synthetic_outliers`) and run in the same batch, so that
    BatchNorm's statistics include both, as in the authors' implementation. It needs images, not events.

    Args:
        extra_share: outliers, as a share of the batch's images, above 0.

    Raises:
        InputError: the share is out of range.
    """

    extra_share: float = 0.25

    def make_inputs(self, images: Tensor, generator: Generator) -> Tensor:
        """The outliers; raises `InputError` if the inputs are not images."""
        return outliers(images, generator)

    def term(self, forward: Forward) -> Tensor:
        """The divergence, a scalar; 0 in a batch too small for an outlier."""
        if len(forward.extra_logits) == 0:
            return forward.mc_logits.new_zeros(())
        return divergence_from_uniform(forward.extra_logits)
