"""Random masks of the engine, equal to those that the network's stochastic layers draw in `mc_predict`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Generator, Tensor
from torch.nn.functional import pad

from tsnn_uq.fast.engine.layers import WORD, Layer, drop_weights, pack_bits
from tsnn_uq.seeds import derive_seed

__all__ = ["Draw", "active", "seeded"]


def active(layer: Layer) -> Layer:
    """Scale a layer for use with masks: what is kept counts 1 / (1 - p) times."""
    factor = 1.0
    for masks in (layer.dropout, layer.dropconnect):
        factor *= 1 if masks is None else 1 / (1 - masks.p)
    return replace(layer, scale=layer.scale * factor)


def seeded(seed: int, device: torch.device) -> Generator:
    """Create a generator with a seed."""
    return Generator(device=device).manual_seed(seed)


@dataclass(frozen=True)
class Draw:
    """The masks of one block of inputs.

    Attributes:
        seed: seed of the whole call.
        block: index of the block.
        steps: number of time steps, T.
        count: number of inputs in the block.
    """

    seed: int
    block: int
    steps: int
    count: int

    def spike_seed(self, name: str, sample: int) -> int:
        """Seed of one sample's masks on spikes, or of its input spikes, for the layer `name`."""
        return derive_seed(self.seed, name, self.block, sample)

    def weight_seed(self, name: str, sample: int) -> int:
        """Seed of one sample's masks on the weights of the layer `name`; the same for all blocks."""
        return derive_seed(self.seed, name, "all", sample)

    def inputs(self, layers: Sequence[Layer], sample: int) -> list[Tensor]:
        """Which inputs each layer with dropout keeps: bool [T or 1, N, height, width, channels]."""
        return [self._inputs(layer, sample) for layer in layers if layer.dropout is not None]

    def _inputs(self, layer: Layer, sample: int) -> Tensor:
        assert layer.dropout is not None
        window, device = layer.window, layer.scale.device
        steps = self.steps if layer.dropout.per_step else 1
        side = window.pool if layer.dropout.pooled else 1
        height, width = window.height // side, window.width // side
        mask = torch.empty(steps, self.count, window.channels, height, width, device=device)
        mask.uniform_(generator=seeded(self.spike_seed(layer.dropout.name, sample), device))
        keep = (mask >= layer.dropout.p).permute(0, 1, 3, 4, 2)
        if side > 1:  # rows and columns at the edges may be in no square
            keep = keep.repeat_interleave(side, 2).repeat_interleave(side, 3)
            keep = pad(keep, (0, 0, 0, window.width - width * side, 0, window.height - height * side))
        return keep

    def weights(self, layer: Layer, sample: int) -> Layer:
        """Remove the weights that dropconnect drops in one sample, the same for all inputs."""
        if layer.dropconnect is None:
            return layer
        window, device = layer.window, layer.scale.device
        mask = torch.empty(layer.outputs, window.channels // window.groups, *window.kernel, device=device)
        mask.uniform_(generator=seeded(self.weight_seed(layer.dropconnect.name, sample), device))
        keep = (mask >= layer.dropconnect.p).permute(2, 3, 1, 0).reshape(window.inputs, layer.outputs)
        if layer.planes is None:
            assert layer.weights is not None
            return replace(layer, weights=layer.weights * pad(keep, (0, -layer.outputs % WORD)))
        return replace(layer, planes=drop_weights(layer.planes, pack_bits(~keep)))
