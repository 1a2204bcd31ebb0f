"""Random masks of the engine as words of bits, drawn without intermediate floats."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tsnn_uq.fast.engine import torch_rng
from tsnn_uq.fast.engine.layers import Layer, drop_weights, pack_bits
from tsnn_uq.fast.engine.masks import Draw

__all__ = ["PackedDraw", "pack_maps"]

Words = NDArray[np.uint32]


class PackedDraw(Draw):
    """A `Draw` for the compiled backend. It falls back to torch if `torch_rng` does not match the installed version."""

    def words(self, layers: Sequence[Layer], sample: int) -> list[Words]:
        """The masks of `inputs` as words [N, T or 1, height * width * words]."""
        return [self._words(layer, sample) for layer in layers if layer.dropout is not None]

    def _words(self, layer: Layer, sample: int) -> Words:
        masks, window = layer.dropout, layer.window
        assert masks is not None
        if (masks.pooled and window.pool > 1) or not torch_rng.follows_torch():
            return pack_maps(self._inputs(layer, sample).transpose(0, 1))
        steps, pixels = self.steps if masks.per_step else 1, window.height * window.width
        seed = self.spike_seed(masks.name, sample)
        return torch_rng.kept_spikes(seed, masks.p, steps, self.count, window.channels, pixels)

    def weights(self, layer: Layer, sample: int) -> Layer:
        """Remove the weights that dropconnect drops in one sample, the same for all inputs."""
        if layer.dropconnect is None or layer.planes is None or not torch_rng.follows_torch():
            return super().weights(layer, sample)
        height, width = layer.window.kernel
        seed = self.weight_seed(layer.dropconnect.name, sample)
        dropped = torch_rng.dropped_weights(
            seed, layer.dropconnect.p, layer.outputs, layer.window.channels, height * width
        )
        return replace(layer, planes=drop_weights(layer.planes, torch.from_numpy(dropped.view(np.int32))))


def pack_maps(bits: Tensor) -> Words:
    """Pack bits [N, T, height, width, channels] into words [N, T, height * width * words]."""
    return pack_bits(bits.flatten(0, -2)).numpy().view(np.uint32).reshape(*bits.shape[:2], -1)
