"""A layer of the engine under construction: the network's weights, and what is folded into scale and bias."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from tsnn_uq.fast.engine.layers import Layer, Masks, Window, pack_planes, pad_outputs
from tsnn_uq.neurons import LIFParameters
from tsnn_uq.quantization.rules import ternary_parts
from tsnn_uq.uncertainty import StochasticLayer

__all__ = ["Synapses", "has_masks"]


@dataclass
class Synapses:
    """A layer under construction: weights [outputs, inputs], and what is folded into scale and bias."""

    window: Window
    weight: Tensor
    bias: Tensor
    factor: Tensor
    dropout: Masks | None
    dropconnect: Masks | None
    neuron: LIFParameters | None = None
    gain: float = 1.0
    votes: int = 1

    def layer(self) -> Layer:
        """The finished layer, its weights at two bits where they are ternary."""
        outputs = len(self.weight)
        if self.window.pool_kind == "mean":
            self.factor = self.factor / self.window.pool**2
        parts = ternary_parts(self.weight)
        planes = weights = None
        if parts is None:
            weights, scale = pad_outputs(self.weight.T, outputs), self.factor
        else:
            planes, scale = pack_planes(parts[0].T), self.factor * parts[1].double().reshape(-1)
        return Layer(
            window=self.window,
            outputs=outputs,
            planes=planes,
            weights=weights,
            scale=pad_outputs(scale.expand(outputs), outputs),
            bias=pad_outputs(self.bias, outputs),
            neuron=self.neuron,
            dropout=self.dropout,
            dropconnect=self.dropconnect,
            gain=self.gain,
            votes=self.votes,
        )


def has_masks(module: nn.Module) -> bool:
    """Whether a module is a stochastic layer that drops anything."""
    return isinstance(module, StochasticLayer) and module.p > 0
