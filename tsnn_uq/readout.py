"""From a network's output over time to logits.

A spiking network gives [T, N, C]: an output current, or a spike, of each class at each step. Its logits
after t steps are the mean of the first t outputs, so a decision can be read at any time. Networks that
give [N, C] have no time axis and are taken as they are.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tsnn_uq.checks import InputError, describe

__all__ = ["Gain", "logits", "logits_over_time"]


def logits(outputs: Tensor) -> Tensor:
    """Logits [N, C] of outputs [T, N, C] (their mean over time) or [N, C] (as they are)."""
    _check(outputs)
    return outputs.mean(0) if outputs.dim() == 3 else outputs


def logits_over_time(outputs: Tensor) -> Tensor:
    """Logits [T, N, C] after each step: the running mean of outputs [T, N, C].

    Example:
        >>> logits_over_time(torch.tensor([2.0, 4.0]).reshape(2, 1, 1)).flatten()
        tensor([2., 3.])
    """
    _check(outputs)
    if outputs.dim() == 2:
        raise InputError(f"outputs: expected shape [T, N, C] for values over time; got {describe(outputs)}")
    steps = torch.arange(1, len(outputs) + 1, dtype=outputs.dtype, device=outputs.device)
    return outputs.cumsum(0) / steps.reshape(-1, 1, 1)


def _check(outputs: Tensor) -> None:
    if not isinstance(outputs, Tensor) or outputs.dim() not in (2, 3):
        raise InputError(f"outputs: expected shape [T, N, C] or [N, C]; got {describe(outputs)}")


class Gain(nn.Module):
    """Multiply by a constant: turns spikes into logits whose softmax can be sure (``exp(gain)`` to 1)."""

    def __init__(self, gain: float) -> None:
        super().__init__()
        self.gain = gain

    def forward(self, spikes: Tensor) -> Tensor:
        """`spikes` times the gain."""
        return spikes * self.gain
