"""The leaky integrator (LI): a LIF neuron that never fires, as a readout or as a synapse."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from tsnn_uq.checks import InputError, check_fraction

__all__ = ["LI"]


class LI(nn.Module):
    """A layer of leaky integrators: current [T, N, ...] in, potentials [T, N, ...] out, without state between calls.

    v[t] = decay v[t-1] + gain x[t], with v = 0 before the first step. Before LIF neurons it models a synapse with a
    decaying current.

    Args:
        decay: share of the potential left after one step (0 to 1).
        gain: factor on the current, any finite number.

    Raises:
        InputError: `decay` or `gain` is out of range.

    Example:
        >>> LI(decay=0.5)(torch.tensor([[1.0], [1.0], [0.0]])).flatten().tolist()
        [1.0, 1.5, 0.75]
    """

    def __init__(self, decay: float, gain: float = 1.0) -> None:
        super().__init__()
        check_fraction("decay", decay)
        if not math.isfinite(gain):
            raise InputError(f"gain: expected a finite number; got {gain}")
        self.decay = decay
        self.gain = gain

    def forward(self, current: Tensor) -> Tensor:
        """Potentials after each of the T steps."""
        potential = torch.zeros_like(current[:1]).squeeze(0)
        potentials = []
        for step in current:
            potential = self.decay * potential + self.gain * step
            potentials.append(potential)
        return torch.stack(potentials) if potentials else current

    def extra_repr(self) -> str:
        """Parameters, for ``print(network)``."""
        return f"decay={self.decay}, gain={self.gain}"
