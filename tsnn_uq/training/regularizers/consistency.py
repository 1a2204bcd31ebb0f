"""Consistency: two draws of the network should agree, above all on what is hard, and on what the image itself says."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Generator, Tensor
from torch.nn.functional import kl_div

from tsnn_uq.checks import InputError, check_positive
from tsnn_uq.data.warps import warped
from tsnn_uq.metrics.functional import mutual_information
from tsnn_uq.training.batch_layout import Forward
from tsnn_uq.training.regularizers.base import OwnInputsRegularizer

__all__ = ["ConsistencyRegularizer"]


@dataclass(frozen=True)
class ConsistencyRegularizer(OwnInputsRegularizer):
    """How far stochastic passes over warped images are apart, and how far from what the image itself gives.

    A network soon knows its training images by heart, and then its passes agree on them: there is nothing left to
    learn agreement from. Turned, scaled, sheared and moved (`tsnn_uq.data.warps`), the same images are as hard as new
    ones. No label is used:

        I(y; network | warped x) + fidelity * mean_m KL(p(y | x) || p_m(y | warped x)),

    both mean over inputs, in nats: mutual information of M passes, and divergence from the prediction of the image as
    it is, which counts as given. Agreement of draws on changed images is the idea of Sajjadi, Javanmardi and Tasdizen
    (2016) and of Laine and Aila (2017), the divergence that of Xie et al. (2020). Images only, no events.

    Args:
        passes: stochastic passes M.
        fidelity: weight of the divergence; 0 for none.
        extra_share: warped images, as a share of the batch's images, above 0.

    Raises:
        InputError: too few passes, or a number out of range.
    """

    passes: int = 2
    fidelity: float = 0.03
    extra_share: float = 0.25
    share = 0.0  # of the images themselves one pass is enough
    extra_everywhere = True

    def __post_init__(self) -> None:
        check_positive("passes", self.passes, integer=True)
        if self.passes < 2:
            raise InputError(f"passes: expected at least two, which may agree; got {self.passes}")
        if self.fidelity:
            check_positive("fidelity", self.fidelity)
        super().__post_init__()

    def make_inputs(self, images: Tensor, generator: Generator) -> Tensor:
        """The warped images; raises `InputError` if the inputs are not images."""
        return warped(images, generator)

    def term(self, forward: Forward) -> Tensor:
        """The sum, a scalar; 0 without images."""
        if len(forward.extra_logits) == 0:
            return forward.mc_logits.new_zeros(())
        logits = forward.extra_logits.unflatten(0, (forward.layout.passes, -1))
        disagreement = mutual_information(logits.softmax(-1), validate=False)
        if not self.fidelity:
            return disagreement
        given = forward.first_logits[: logits.shape[1]].detach().log_softmax(-1).expand_as(logits)
        divergence = kl_div(logits.log_softmax(-1), given, reduction="none", log_target=True).sum(-1).mean()
        return disagreement + self.fidelity * divergence
