"""The scan of LIF neurons in plain PyTorch: the reference for the compiled kernels, and their fallback.

Tests compare both, and their gradients, with the definition `tsnn_uq.neurons.lif_step`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from tsnn_uq.neurons.lif_parameters import LIFParameters

__all__ = ["backward", "decay_gradient", "forward"]


def forward(current: Tensor, steps: int, params: LIFParameters, keep: bool = True) -> tuple[Tensor, Tensor]:
    """Run neurons over T steps, starting at potential zero.

    Args:
        current: input [T, ...], or [1, ...] if it is constant.
        steps: T.
        params: the neuron.
        keep: whether `backward` will be called, which needs the potentials of all steps.

    Returns:
        Membrane potentials before the reset and spikes, both [T, ...]. Without `keep` the potentials are a
        placeholder [1, ...].
    """
    spikes = current.new_empty(steps, *current.shape[1:])
    charged = spikes.new_empty(steps if keep else 1, *current.shape[1:])
    potential = torch.zeros_like(charged[0])
    for t in range(steps):
        h = charged[t if keep else 0]
        torch.add(current[min(t, len(current) - 1)], potential, alpha=params.decay, out=h)
        torch.ge(h, params.threshold, out=spikes[t])
        if params.reset == "soft":
            torch.sub(h, spikes[t], alpha=params.threshold, out=potential)
        else:
            torch.addcmul(h, h, spikes[t], value=-1, out=potential)
    return charged, spikes


def backward(
    charged: Tensor,
    grad: Tensor,
    params: LIFParameters,
    held: bool,
    learns: bool = False,
    grad_potential: Tensor | None = None,
) -> tuple[Tensor, Tensor | None]:
    """Gradients of the current and of the decay, by the chain rule backward in time.

    Args:
        charged: potentials before the reset [T, ...].
        grad: gradient of the spikes [T, ...].
        params: the neuron.
        held: whether one current was used in all steps.
        learns: whether to compute the gradient of the decay.
        grad_potential: gradient of the potentials [T, ...], if the loss also depends on them.

    Returns:
        The gradient of the current [T, ...], or [1, ...] if it is constant, and each neuron's contribution to the
        gradient of the decay [...], or None.
    """
    slope = params.surrogate.derivative_(charged - params.threshold)  # ds/dh
    carry = None  # dv'/dh where it is not 1
    if params.reset == "hard":
        carry = (charged < params.threshold).to(slope.dtype)
        if not params.detach_reset:
            carry.addcmul_(charged, slope, value=-1)
    elif not params.detach_reset:
        carry = (slope * -params.threshold).add_(1)
    grad_charged = slope.mul_(grad)
    if grad_potential is not None:
        grad_charged.add_(grad_potential)
    for t in range(len(charged) - 2, -1, -1):
        if carry is None:
            grad_charged[t].add_(grad_charged[t + 1], alpha=params.decay)
        else:
            grad_charged[t].addcmul_(grad_charged[t + 1], carry[t], value=params.decay)
    grad_decay = decay_gradient(charged, grad_charged, params) if learns else None
    return (grad_charged.sum(0, keepdim=True) if held else grad_charged), grad_decay


def decay_gradient(charged: Tensor, grad_charged: Tensor, params: LIFParameters) -> Tensor:
    """Each neuron's contribution to the gradient of the decay [...]: the sum over t of dL/dh[t] v[t - 1]."""
    h = charged[:-1]
    fires = h >= params.threshold
    left = h.masked_fill(fires, 0) if params.reset == "hard" else h.sub(fires.to(h.dtype), alpha=params.threshold)
    return (grad_charged[1:] * left).sum(0)
