"""Layers of the engine: synapses with weights at two bits, and the neurons after them.

A layer is a convolution over a map of spikes or values [T, N, height, width, channels], preceded by pooling and
followed by neurons. A linear layer has a kernel as large as its map. A one-dimensional convolution has maps of one row.

Ternary weights have the two bits of `tsnn_uq.quantization.packing`: the low bit is set for a nonzero weight and the
high bit for a negative one. They are stored in two planes of 32-bit words [inputs + 1, 2, words], low bits first, with
output o in bit o % 32 of word o / 32. The counters of `tsnn_uq.fast.engine.sums` count 0 for the row after the last
input, which they use as padding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from tsnn_uq.neurons import LI, LIFParameters
from tsnn_uq.quantization.rules import ternary_parts

__all__ = [
    "Layer",
    "Masks",
    "Window",
    "drop_weights",
    "have_kernels",
    "pack_bits",
    "pack_planes",
    "pad_outputs",
    "unpack_planes",
    "vote",
]

WORD = 32
NO_PADDING = (0, 0), (0, 0)


@dataclass(frozen=True)
class Window:
    """The receptive field of one output.

    Attributes:
        channels: channels of the input map.
        height: rows of the input map, before pooling.
        width: columns of the input map, before pooling.
        kernel: rows and columns of the kernel.
        stride: rows and columns between neighbouring outputs.
        padding: zeros above and below the pooled map, and on its left and right.
        dilation: rows and columns between neighbouring weights of the kernel.
        groups: groups of a grouped convolution.
        pool: side of the pooling squares, 1 for no pooling.
        pool_kind: ``"mean"``, ``"max"`` or ``"sum"`` over a square.
    """

    channels: int
    height: int = 1
    width: int = 1
    kernel: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    padding: tuple[tuple[int, int], tuple[int, int]] = NO_PADDING
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1
    pool: int = 1
    pool_kind: str = "mean"

    @property
    def inputs(self) -> int:
        """Number of weights of one output."""
        return self.kernel[0] * self.kernel[1] * self.channels // self.groups

    @property
    def size(self) -> tuple[int, int, int]:
        """Channels, rows and columns of the input map."""
        return self.channels, self.height, self.width

    @property
    def out_size(self) -> tuple[int, int]:
        """Rows and columns of the output map."""
        height, width = (
            (side // self.pool + sum(zeros) - dilation * (kernel - 1) - 1) // stride + 1
            for side, zeros, dilation, kernel, stride in zip(
                self.size[1:], self.padding, self.dilation, self.kernel, self.stride, strict=True
            )
        )
        return height, width


@dataclass(frozen=True)
class Masks:
    """The stochastic layer that draws a layer's masks: its name and settings.

    With ``pooled`` masks are drawn for the pooled map, so all inputs of a square share one mask.
    """

    name: str
    p: float
    per_step: bool = False
    pooled: bool = False


@dataclass(frozen=True)
class Layer:
    """Synapses and the neurons after them.

    Attributes:
        window: the receptive field of an output.
        outputs: number of output channels.
        planes: bits of the ternary weights, int32 [inputs + 1, 2, words]; ``None`` for float weights.
        weights: float weights [inputs, 32 * words]; ``None`` for ternary ones.
        scale: current per unit of the sum for each output; zero-padded to [32 * words] in a finished layer.
        bias: constant current for each output, padded like `scale`.
        neuron: LIF neurons, leaky integrators (the output is their potential), or ``None`` (the output is the current).
        delayed_reset: subtracted from the potential one step after a spike, instead of the neurons' reset; 0 for none.
        dropout: masks on the incoming spikes.
        dropconnect: masks on the weights.
        gain: factor on the spikes of the last layer.
        votes: outputs of the last layer that are averaged for each class.
    """

    window: Window
    outputs: int
    planes: Tensor | None
    weights: Tensor | None
    scale: Tensor
    bias: Tensor
    neuron: LIFParameters | LI | None = None
    delayed_reset: float = 0.0
    dropout: Masks | None = None
    dropconnect: Masks | None = None
    gain: float = 1.0
    votes: int = 1

    @classmethod
    def from_weights(
        cls, window: Window, weight: Tensor, bias: Tensor, dropout: Masks | None, dropconnect: Masks | None
    ) -> Layer:
        """Create a layer from weights [outputs, inputs], at two bits if they are ternary; call `finished` last."""
        outputs = len(weight)
        parts = ternary_parts(weight)
        if parts is None:
            planes, weights, scale = None, pad_outputs(weight.T, outputs), weight.new_ones(1).double()
        else:
            planes, weights, scale = pack_planes(parts[0].T), None, parts[1].double().reshape(-1)
        if window.pool_kind == "mean":
            scale = scale / window.pool**2
        layer = cls(window, outputs, planes, weights, scale.expand(outputs), bias.double())
        return replace(layer, dropout=dropout, dropconnect=dropconnect)

    def affine(self, factor: Tensor | float, mean: Tensor | float = 0.0, shift: Tensor | float = 0.0) -> Layer:
        """A layer whose current is (current - mean) * factor + shift, in double precision."""
        return replace(self, scale=self.scale * factor, bias=(self.bias - mean) * factor + shift)

    def finished(self) -> Layer:
        """A layer with scale and bias in single precision, padded to whole words."""
        scale, bias = (pad_outputs(values, self.outputs) for values in (self.scale, self.bias))
        return replace(self, scale=scale, bias=bias)

    @property
    def out(self) -> tuple[int, int, int]:
        """Channels, rows and columns of the output map."""
        return self.outputs, *self.window.out_size

    @property
    def words(self) -> int:
        """Number of words for one bit per output."""
        return -(-self.outputs // WORD)

    @property
    def random(self) -> bool:
        """Whether the layer has masks."""
        return self.dropout is not None or self.dropconnect is not None

    @property
    def weight_bytes(self) -> int:
        """Bytes of the weights in memory, without scales and biases."""
        return sum(tensor.nbytes for tensor in (self.planes, self.weights) if tensor is not None)


def have_kernels(layers: Sequence[Layer]) -> bool:
    """Whether the compiled kernels support the layers: spikes after each but the last, and no groups."""
    last = layers[-1]
    spiking = all(isinstance(layer.neuron, LIFParameters) for layer in layers[:-1])
    plain = all(layer.window.groups == 1 for layer in layers) and layers[0].window.pool == 1
    follow = all(before.out == after.window.size for before, after in pairwise(layers))
    return spiking and plain and follow and last.out[1:] == (1, 1) and not isinstance(last.neuron, LI)


def vote(outputs: Tensor, layer: Layer) -> Tensor:
    """Average the outputs of the last layer's neurons [..., C * votes] for each class: [..., C]."""
    return outputs if layer.votes == 1 else outputs.unflatten(-1, (-1, layer.votes)).mean(-1)


def pad_outputs(values: Tensor, outputs: int) -> Tensor:
    """Pad floats [..., outputs] with zeros to whole words."""
    return torch.nn.functional.pad(values.float(), (0, -outputs % WORD)).contiguous()


def pack_bits(bits: Tensor) -> Tensor:
    """Pack bits, bool [rows, outputs], into words, int32 [rows, words], padded with zeros."""
    rows, outputs = bits.shape
    padded = np.zeros((rows, -(-outputs // WORD) * WORD), np.bool_)
    padded[:, :outputs] = bits.cpu().numpy()
    return torch.from_numpy(np.packbits(padded, axis=1, bitorder="little").view("<i4")).to(bits.device)


def pack_planes(codes: Tensor) -> Tensor:
    """Pack ternary codes, int8 [inputs, outputs], into planes of bits, int32 [inputs + 1, 2, words].

    Example:
        >>> pack_planes(torch.tensor([[-1, 0, 1]], dtype=torch.int8))[0, :, 0] & 0b111
        tensor([5, 1], dtype=torch.int32)
    """
    planes = torch.stack([pack_bits(codes != 0), pack_bits(codes < 0)], dim=1)
    nothing = planes.new_tensor([-1, 0]).view(1, 2, 1)
    return torch.cat([planes, nothing.expand(1, *planes.shape[1:])])


def drop_weights(planes: Tensor, dropped: Tensor) -> Tensor:
    """Set the weights to zero whose bits are set in `dropped`, int32 [inputs, words]."""
    return torch.cat([planes[:-1] & ~dropped.unsqueeze(1), planes[-1:]])


def unpack_planes(planes: Tensor, outputs: int) -> Tensor:
    """Unpack the planes of `pack_planes` to ternary codes, float32 [inputs, outputs].

    Example:
        >>> unpack_planes(pack_planes(torch.tensor([[-1, 0, 1]], dtype=torch.int8)), 3)
        tensor([[-1.,  0.,  1.]])
    """
    places = torch.arange(WORD, dtype=torch.int32, device=planes.device)
    low, high = (planes[:-1].unsqueeze(-1) >> places & 1).flatten(2)[..., :outputs].unbind(1)
    return (low - 2 * high).float()
