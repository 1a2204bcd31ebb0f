"""Uncertainty regularizers: callables (mc_logits [M, N, C], target [N]) -> scalar, to add to any loss.

`passes` says how many stochastic forward passes M a regularizer wants.
"""

from __future__ import annotations

from torch import Tensor

from tsnn_uq.checks import InputError, check_choice, describe
from tsnn_uq.metrics.functional import predictive_entropy, predictive_variance

__all__ = ["REGULARIZERS", "EntropyRegularizer", "Regularizer", "VarianceRegularizer", "make_regularizer"]


class Regularizer:
    """Adds nothing, from one pass: the base of all regularizers."""

    passes = 1

    def __call__(self, mc_logits: Tensor, target: Tensor) -> Tensor:
        """The term to add to the loss, before its weight."""
        return mc_logits.new_zeros(())

    def probabilities(self, mc_logits: Tensor) -> Tensor:
        """Softmax of `mc_logits`, checked to have `passes` samples."""
        if mc_logits.dim() != 3 or len(mc_logits) < self.passes:
            raise InputError(f"mc_logits: expected shape [M, N, C] with M >= {self.passes}; got {describe(mc_logits)}")
        return mc_logits.softmax(-1)


class VarianceRegularizer(Regularizer):
    """Predictive variance over two stochastic passes, summed over classes, mean over inputs.

    The unbiased estimator: for M = 2, sum_c (p_1c - p_2c)^2 / 2.
    """

    passes = 2

    def __call__(self, mc_logits: Tensor, target: Tensor) -> Tensor:
        """The variance, a scalar."""
        return predictive_variance(self.probabilities(mc_logits), unbiased=True, validate=False)


class EntropyRegularizer(Regularizer):
    """Predictive entropy (nats) of the mean over two stochastic passes, mean over inputs."""

    passes = 2

    def __call__(self, mc_logits: Tensor, target: Tensor) -> Tensor:
        """The entropy, a scalar."""
        return predictive_entropy(self.probabilities(mc_logits), validate=False)


REGULARIZERS: dict[str, type[Regularizer]] = {
    "none": Regularizer,
    "variance": VarianceRegularizer,
    "entropy": EntropyRegularizer,
}


def make_regularizer(name: str) -> Regularizer:
    """A regularizer by name; raises `InputError` for an unknown one."""
    return REGULARIZERS[check_choice("regularizer", name, REGULARIZERS)]()
