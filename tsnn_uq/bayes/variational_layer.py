"""A layer whose weights are random."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from tsnn_uq.bayes.output_noise import MOST_STEPS, NOISES, exact_noise, flipout_noise
from tsnn_uq.bayes.weight_distributions import WeightFamily
from tsnn_uq.checks import InputError, check_choice
from tsnn_uq.coding import unpack_spikes
from tsnn_uq.constant_input import is_constant, repeat_over_time, single_step
from tsnn_uq.state import copy_at_rest
from tsnn_uq.uncertainty import StochasticLayer

__all__ = ["VariationalLayer"]


class VariationalLayer(StochasticLayer):
    """Replaces a fully connected layer or a convolution by one whose weights have a distribution.

    In training mode its outputs are drawn by local reparameterization (`tsnn_uq.bayes.output_noise`), or computed with
    drawn weights. In evaluation mode it uses the mean of the weights. Inputs are [N, ...] or [T, N, ...].

    Args:
        layer: the layer; a copy without its weights is kept, and its dropconnect is removed.
        weights: the distribution of its weights.
        noise: ``"exact"``, ``"flipout"``, ``"auto"`` (the former up to 8 time steps), or ``"weights"``: one draw of
            the weights for all inputs of a batch.

    Attributes:
        expected: the number of inputs of the network in this pass; None after the layer was called.
    """

    expected: int | None = None

    def __init__(self, layer: Any, weights: WeightFamily, noise: str = "auto") -> None:
        super().__init__()
        self.p, self.mask, self.noise = 1.0, "fixed", check_choice("noise", noise, NOISES)
        self.dims = 2 + len(getattr(layer, "kernel_size", ()))  # axes of inputs without time
        self.units = layer.weight.shape[1]
        self.layer = copy_at_rest(layer)
        if isinstance(layer, StochasticLayer):
            self.layer.p = 0.0
        # A placeholder, so that a deployed layer has its parameters in the original order.
        self.layer.weight = nn.Parameter(layer.weight.new_empty(0), requires_grad=False)
        self.weights = weights

    @property
    def active(self) -> bool:
        """Whether a forward pass is random now."""
        return self.training

    def forward(self, inputs: Tensor) -> Tensor:
        """Weighted sums of `inputs`."""
        if not self.active:
            return functional_call(self.layer, {"weight": self.weights.moments()[0]}, (inputs,))
        if inputs.dtype == torch.uint8:
            inputs = unpack_spikes(inputs, self.units, next(self.weights.parameters()).dtype)
        timed = inputs.dim() > self.dims
        self._check(inputs, timed)
        if timed and is_constant(inputs):
            return repeat_over_time(self._random(single_step(inputs).unsqueeze(0), timed)[0], len(inputs))
        if timed:
            return self._random(inputs, timed)
        return self._random(inputs.unsqueeze(0), timed)[0]

    def _random(self, inputs: Tensor, timed: bool) -> Tensor:
        """Random outputs [T, N, ...] of inputs [T, N, ...]; each generator is the source of noise for its group."""

        def sums(values: Tensor, weight: Tensor, *, bias: bool = False) -> Tensor:
            parameters = {"weight": weight}
            if not bias and self.layer.bias is not None:
                parameters["bias"] = torch.zeros_like(self.layer.bias)
            if timed:
                return functional_call(self.layer, parameters, (values,))
            return functional_call(self.layer, parameters, (values.flatten(0, 1),)).unflatten(0, values.shape[:2])

        parts = zip(inputs.split(self.group_size(inputs.shape[1]), 1), self.generators, strict=True)
        if self.noise == "weights":
            return _joined([sums(part, self.weights.rsample(generator), bias=True) for part, generator in parts])
        mean, variance = self.weights.moments()
        exact = self.noise == "exact" or (self.noise == "auto" and len(inputs) <= MOST_STEPS)
        draw = exact_noise if exact else flipout_noise
        return sums(inputs, mean, bias=True) + _joined(
            [draw(sums, part, variance, generator) for part, generator in parts]
        )

    def _check(self, inputs: Tensor, timed: bool) -> None:
        """Raise if the weights would not be constant over the steps of an input."""
        if self.mask != "fixed":
            raise InputError("mask: expected 'fixed', since weights stay the same over the steps; got 'per-step'")
        if self.expected != inputs.shape[int(timed)]:
            why = "a layer that is called for each step, or with steps folded into the batch, cannot be trained"
            raise InputError(
                f"inputs: expected all steps of the network's inputs in one call of a layer; got {list(inputs.shape)} "
                f"({why} by local reparameterization; sample networks instead)"
            )
        self.expected = None

    def deploy(self, weight: Tensor) -> nn.Module:
        """The original layer with the given weights."""
        layer: Any = copy_at_rest(self.layer)
        layer.weight = nn.Parameter(weight.detach())
        return layer.eval()

    def extra_repr(self) -> str:
        """Parameters, for ``print(network)``."""
        return f"noise={self.noise}"


def _joined(parts: list[Tensor]) -> Tensor:
    """Join groups of inputs [T, N, ...]."""
    return parts[0] if len(parts) == 1 else torch.cat(parts, 1)
