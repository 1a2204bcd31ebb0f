"""What a network is to the engine: layers of synapses and neurons, their weights at two bits.

A layer is a convolution over a map of spikes or values [T, N, height, width, channels], with pooling in front of it
and neurons behind it. A linear layer is one whose kernel is as large as its map; a convolution over one axis has maps
of one row.

Ternary weights have the two bits of `tsnn_uq.quantization.packing`, low for "not zero" and high for "minus", in two
planes: rows [inputs + 1, 2, words] of 32-bit words, the low bits of all outputs and then the high bits, output o in bit
o % 32 of word o / 32. The row after the last input is what the counters of `tsnn_uq.fast.engine.sums` take for nothing.
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
    """The inputs that one output sees.

    Attributes:
        channels: channels of the input map.
        height: rows of the input map, before pooling.
        width: columns of the input map, before pooling.
        kernel: rows and columns of the kernel.
        stride: steps of the kernel, down and to the right.
        padding: zeros above and below the pooled map, and on its left and right.
        dilation: rows, and columns, from one weight of the kernel to the next.
        groups: equal parts of the input channels, each seen by as many of the outputs.
        pool: side of the squares that are pooled, 1 for none.
        pool_kind: ``"mean"``, ``"max"`` or ``"sum"`` of a square.
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
        """Weights of one output."""
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
    """Where a layer is random: the name and settings of the stochastic layer that draws its masks.

    ``pooled`` is whether masks are drawn for the pooled map; then all of a square stays, or nothing of it.
    """

    name: str
    p: float
    per_step: bool = False
    pooled: bool = False


@dataclass(frozen=True)
class Layer:
    """Synapses and the neurons behind them.

    Attributes:
        window: what an output sees.
        outputs: number of output channels.
        planes: bits of the ternary weights, int32 [inputs + 1, 2, words]; ``None`` for float weights.
        weights: float weights [inputs, 32 * words]; ``None`` for ternary ones.
        scale: current per unit of the sum, for each output; in a finished layer [32 * words], zero for no output.
        bias: constant current, likewise.
        neuron: LIF neurons, or leaky integrators, which give their potentials; ``None`` for currents as they are.
        late: what is subtracted one step after a spike, in place of the neurons' reset; 0 for none.
        dropout: masks on the incoming spikes.
        dropconnect: masks on the weights.
        gain: factor on the spikes of a last layer.
        votes: outputs of a last layer whose mean is that of one class.
    """

    window: Window
    outputs: int
    planes: Tensor | None
    weights: Tensor | None
    scale: Tensor
    bias: Tensor
    neuron: LIFParameters | LI | None = None
    late: float = 0.0
    dropout: Masks | None = None
    dropconnect: Masks | None = None
    gain: float = 1.0
    votes: int = 1

    @classmethod
    def of(
        cls, window: Window, weight: Tensor, bias: Tensor, dropout: Masks | None, dropconnect: Masks | None
    ) -> Layer:
        """A layer of weights [outputs, inputs], at two bits if they are ternary; to be `finished` after `affine`."""
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
        """The layer with (current - mean) * factor + shift for its current, in double precision."""
        return replace(self, scale=self.scale * factor, bias=(self.bias - mean) * factor + shift)

    def finished(self) -> Layer:
        """The layer with its scale and bias in single precision, padded to whole words."""
        scale, bias = (pad_outputs(values, self.outputs) for values in (self.scale, self.bias))
        return replace(self, scale=scale, bias=bias)

    @property
    def out(self) -> tuple[int, int, int]:
        """Channels, rows and columns of the output map."""
        return self.outputs, *self.window.out_size

    @property
    def words(self) -> int:
        """Words that hold one bit for each output."""
        return -(-self.outputs // WORD)

    @property
    def random(self) -> bool:
        """Whether the layer has masks."""
        return self.dropout is not None or self.dropconnect is not None

    @property
    def weight_bytes(self) -> int:
        """Bytes of the weights in memory, scales and biases apart."""
        return sum(tensor.nbytes for tensor in (self.planes, self.weights) if tensor is not None)


def have_kernels(layers: Sequence[Layer]) -> bool:
    """Whether the compiled kernels can run such layers: spikes behind each but the last, and no groups."""
    last = layers[-1]
    spiking = all(isinstance(layer.neuron, LIFParameters) for layer in layers[:-1])
    plain = all(layer.window.groups == 1 for layer in layers) and layers[0].window.pool == 1
    follow = all(before.out == after.window.size for before, after in pairwise(layers))
    return spiking and plain and follow and last.out[1:] == (1, 1) and not isinstance(last.neuron, LI)


def vote(outputs: Tensor, layer: Layer) -> Tensor:
    """Outputs [..., C] of the classes, from those of the last layer's neurons [..., C * votes]."""
    return outputs if layer.votes == 1 else outputs.unflatten(-1, (-1, layer.votes)).mean(-1)


def pad_outputs(values: Tensor, outputs: int) -> Tensor:
    """Floats [..., outputs] with zeros up to whole words."""
    return torch.nn.functional.pad(values.float(), (0, -outputs % WORD)).contiguous()


def pack_bits(bits: Tensor) -> Tensor:
    """Bits bool [rows, outputs] as words int32 [rows, words], zeros where there is no output."""
    rows, outputs = bits.shape
    padded = np.zeros((rows, -(-outputs // WORD) * WORD), np.bool_)
    padded[:, :outputs] = bits.cpu().numpy()
    return torch.from_numpy(np.packbits(padded, axis=1, bitorder="little").view("<i4")).to(bits.device)


def pack_planes(codes: Tensor) -> Tensor:
    """Ternary codes int8 [inputs, outputs] as planes of bits, int32 [inputs + 1, 2, words].

    Example:
        >>> pack_planes(torch.tensor([[-1, 0, 1]], dtype=torch.int8))[0, :, 0] & 0b111
        tensor([5, 1], dtype=torch.int32)
    """
    planes = torch.stack([pack_bits(codes != 0), pack_bits(codes < 0)], dim=1)
    nothing = planes.new_tensor([-1, 0]).view(1, 2, 1)
    return torch.cat([planes, nothing.expand(1, *planes.shape[1:])])


def drop_weights(planes: Tensor, dropped: Tensor) -> Tensor:
    """The planes with the weights made zero whose bits are set in words int32 [inputs, words]."""
    return torch.cat([planes[:-1] & ~dropped.unsqueeze(1), planes[-1:]])


def unpack_planes(planes: Tensor, outputs: int) -> Tensor:
    """The ternary codes [inputs, outputs] of `pack_planes`, as float32.

    Example:
        >>> unpack_planes(pack_planes(torch.tensor([[-1, 0, 1]], dtype=torch.int8)), 3)
        tensor([[-1.,  0.,  1.]])
    """
    places = torch.arange(WORD, dtype=torch.int32, device=planes.device)
    low, high = (planes[:-1].unsqueeze(-1) >> places & 1).flatten(2)[..., :outputs].unbind(1)
    return (low - 2 * high).float()
