"""Dropconnect: a linear layer whose weights, not units, are dropped at random (Wan et al., 2013)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tsnn_uq.checks import InputError, describe
from tsnn_uq.coding import unpack_spikes
from tsnn_uq.constant_input import is_constant, repeat_over_time, single_step
from tsnn_uq.fast.synapses import linear
from tsnn_uq.uncertainty.stochastic_layer import StochasticLayer, draw_masks

__all__ = ["DropConnectLinear"]


class DropConnectLinear(nn.Linear, StochasticLayer):
    """Linear layer over time, [T, N, in] to [T, N, out], with randomly dropped weights.

    One mask [out, in] is drawn per generator and shared by its group of the batch: one mask is one network drawn from
    the posterior. ``per_input=True`` draws a mask for each input, which takes memory [N, out, in]. The mask is applied
    after ternarization, so a dropped ternary weight is zero and the scale is multiplied by 1 / (1 - p).

    Args:
        in_features: inputs of the layer.
        out_features: outputs of the layer.
        bias: add a bias, which is never dropped.
        p: probability with which a weight is dropped, 0 <= p < 1.
        mask: ``"fixed"`` over the T steps or redrawn ``"per-step"``.
        per_input: one mask for each input instead of one for each group.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = False,
        *,
        p: float = 0.2,
        mask: str = "fixed",
        per_input: bool = False,
    ) -> None:
        super().__init__(in_features, out_features, bias)
        self.set_masks(p, mask)
        self.per_input = per_input

    @property
    def shared_by_inputs(self) -> bool:
        """Whether one mask serves all inputs of a sample."""
        return not self.per_input

    def forward(self, spikes: Tensor) -> Tensor:
        """Weighted sums of `spikes` [T, N, in], or packed ones; input that is constant over time is multiplied once."""
        if spikes.dtype == torch.uint8:
            spikes = unpack_spikes(spikes, self.in_features, self.weight.dtype)
        if spikes.dim() != 3 or spikes.shape[-1] != self.in_features:
            raise InputError(f"spikes: expected shape [T, N, {self.in_features}]; got {describe(spikes)}")
        weight = self.weight  # read once: a ternary weight is computed at each access
        if self.active and self.mask == "per-step":
            return torch.cat([self._weighted(step, weight) for step in spikes.split(1)])
        if is_constant(spikes):
            return repeat_over_time(self._weighted(single_step(spikes).unsqueeze(0), weight)[0], len(spikes))
        return self._weighted(spikes, weight)

    def _weighted(self, spikes: Tensor, weight: Tensor) -> Tensor:
        """Apply one draw of masks to [T, N, in]."""
        if not self.active:
            return linear(spikes, weight, self.bias)
        steps, batch, _ = spikes.shape
        size = self.group_size(batch)
        masks = draw_masks(self._mask_shape(size), self.p, self.generators, weight).flatten(0, -3)
        if not self.per_input:  # one product per group: unlike a batched product, it exploits sparse spikes
            groups = zip(spikes.chunk(len(masks), dim=1), masks, strict=True)
            return torch.cat([linear(group, weight * mask, self.bias) for group, mask in groups], dim=1)
        inputs = spikes.unflatten(1, (len(masks), -1)).transpose(0, 1).flatten(1, 2)  # [N, T, in]
        sums = torch.bmm(inputs, (weight * masks).transpose(1, 2))
        sums = sums.unflatten(1, (steps, -1)).transpose(0, 1).flatten(1, 2)  # [T, N, out]
        return sums if self.bias is None else sums + self.bias

    def _mask_shape(self, group_size: int) -> tuple[int, ...]:
        return (group_size if self.per_input else 1, self.out_features, self.in_features)

    def extra_repr(self) -> str:
        """Parameters, for ``print(network)``."""
        return f"{nn.Linear.extra_repr(self)}, {StochasticLayer.extra_repr(self)}"
