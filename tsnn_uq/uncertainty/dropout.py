"""Dropout for spikes over time: a mask fixed over the window, or a new one each step."""

from __future__ import annotations

from torch import Tensor

from tsnn_uq.checks import InputError, describe
from tsnn_uq.uncertainty.stochastic_layer import StochasticLayer, draw_masks

__all__ = ["Dropout"]


class Dropout(StochasticLayer):
    """Drop units at random: [T, N, ...] in and out.

    With ``mask="fixed"`` (Lee et al., 2020, arXiv:1903.06379) an input keeps its mask for all T steps, so that one
    mask is one network drawn from the posterior (Gal and Ghahramani, 2016). With ``mask="per-step"`` each step draws a
    new mask (Sun et al., 2023); averaging over T steps then reduces the variance.
    In evaluation mode it is the identity.

    Args:
        p: probability with which a unit is dropped, 0 <= p < 1.
        mask: ``"fixed"`` or ``"per-step"``.
    """

    def __init__(self, p: float = 0.2, mask: str = "fixed") -> None:
        super().__init__()
        self.set_masks(p, mask)

    def forward(self, spikes: Tensor) -> Tensor:
        """Drop units of `spikes` [T, N, ...] and scale the others by 1 / (1 - p)."""
        if not self.active:
            return spikes
        if spikes.dim() < 3:
            raise InputError(f"spikes: expected shape [T, N, ...]; got {describe(spikes)}")
        steps, batch = (1 if self.mask == "fixed" else len(spikes)), spikes.shape[1]
        shape = (steps, self.group_size(batch), *spikes.shape[2:])
        masks = draw_masks(shape, self.p, self.generators, spikes)  # [G, steps, N/G, ...]
        return spikes * masks.transpose(0, 1).reshape(steps, batch, *spikes.shape[2:])
