"""Consistency of stochastic passes over warped images."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Generator, Tensor
from torch.nn.functional import kl_div

from tsnn_uq.checks import InputError, check_positive
from tsnn_uq.data.affine_maps import warped
from tsnn_uq.metrics.functional import mutual_information
from tsnn_uq.training.batch_layout import Forward
from tsnn_uq.training.regularizers.base import OwnInputsRegularizer

__all__ = ["ConsistencyRegularizer"]


@dataclass(frozen=True)
class ConsistencyRegularizer(OwnInputsRegularizer):
    """Disagreement of stochastic passes over warped images, and their distance from the prediction of the image itself.

    A network soon memorizes its training images; its passes then agree on them, and no signal is left. Rotated, scaled,
    sheared and shifted (`tsnn_uq.data.affine_maps`), the same images are as hard as new ones. Labels are not used:

        I(y; network | warped x) + fidelity * mean_m KL(p(y | x) || p_m(y | warped x)),

    both mean over inputs, in nats: mutual information of M passes, and divergence from the prediction of the unwarped
    image, which gets no gradient. Agreement of draws on transformed images is the idea of Sajjadi, Javanmardi and
    Tasdizen (2016) and of Laine and Aila (2017), the divergence that of Xie et al. (2020). It needs images, not events.

    Args:
        passes: stochastic passes M.
        fidelity: weight of the divergence; 0 for none.
        extra_share: warped images, as a share of the batch's images, above 0.

    Raises:
        InputError: there are too few passes, or an argument is out of range.
    """

    passes: int = 2
    fidelity: float = 0.03
    extra_share: float = 0.25
    share = 0.0  # one pass over the images themselves suffices
    extra_everywhere = True

    def __post_init__(self) -> None:
        check_positive("passes", self.passes, integer=True)
        if self.passes < 2:
            raise InputError(f"passes: expected at least 2; got {self.passes}")
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
