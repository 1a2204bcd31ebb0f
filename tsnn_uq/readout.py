"""Convert a network's outputs over time to logits.

A spiking network returns [T, N, C]: an output current, or a spike, of each class at each step. Its logits after t steps
are the mean of the first t outputs, so a decision can be read at any time. Outputs [N, C] have no time axis and are not
averaged. Spikes and spike counts of type bool or int are converted to torch's default dtype. Half precision is
converted to float32, as `torch.autocast` does before a softmax: in float16 a probability below 3e-8 is 0, and its
negative log-likelihood infinite.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tsnn_uq.checks import InputError, describe

__all__ = ["Gain", "logits", "logits_over_time"]


def logits(outputs: Tensor) -> Tensor:
    """Logits [N, C] of outputs [T, N, C] (their mean over time) or [N, C] (unchanged).

    Raises:
        InputError: another shape, complex numbers, or a single class.
    """
    values = _checked(outputs)
    return values.mean(0) if values.dim() == 3 else values


def logits_over_time(outputs: Tensor) -> Tensor:
    """Logits [T, N, C] after each step: the running mean of outputs [T, N, C].

    Raises:
        InputError: another shape, complex numbers, or a single class.

    Example:
        >>> logits_over_time(torch.tensor([[[2.0, 0.0]], [[4.0, 2.0]]])).tolist()
        [[[2.0, 0.0]], [[3.0, 1.0]]]
    """
    values = _checked(outputs)
    if values.dim() == 2:
        raise InputError(f"outputs: expected shape [T, N, C] for values over time; got {describe(outputs)}")
    steps = torch.arange(1, len(values) + 1, dtype=values.dtype, device=values.device)
    return values.cumsum(0) / steps.reshape(-1, 1, 1)


def _checked(outputs: Tensor) -> Tensor:
    """The outputs as floating-point numbers."""
    if not isinstance(outputs, Tensor) or outputs.dim() not in (2, 3):
        raise InputError(f"outputs: expected shape [T, N, C] or [N, C]; got {describe(outputs)}")
    if outputs.is_complex():
        raise InputError(f"outputs: expected real numbers; got {describe(outputs)}")
    if outputs.shape[-1] < 2:
        remedy = "make one logit z two: torch.cat([torch.zeros_like(z), z], -1)"
        raise InputError(f"outputs: expected at least two classes; got {describe(outputs)} ({remedy})")
    values = outputs if outputs.is_floating_point() else outputs.to(torch.get_default_dtype())
    return values.to(torch.promote_types(values.dtype, torch.float32))


class Gain(nn.Module):
    """Multiply by a constant, so that the softmax of spikes can be confident (up to ``exp(gain)`` to 1)."""

    def __init__(self, gain: float) -> None:
        super().__init__()
        self.gain = gain

    def forward(self, spikes: Tensor) -> Tensor:
        """`spikes` times the gain."""
        return spikes * self.gain
