"""The scan of SRM neurons in plain PyTorch: the reference for the compiled kernels, and their fallback.

An alpha kernel k a^k needs two states, so that no response is truncated and each step costs the same:
p[t] = a p[t-1] + x[t] and q[t] = a (q[t-1] + p[t-1]) = sum over k of k a^k x[t-k].
Products and sums are rounded separately, as in the kernels, since a spike can depend on the last digit.
"""

from __future__ import annotations

import torch
from torch import Tensor

from tsnn_uq.neurons.srm_parameters import SRMParameters

__all__ = ["backward", "forward"]


def forward(current: Tensor, steps: int, params: SRMParameters, keep: bool = True) -> tuple[Tensor, Tensor]:
    """Run neurons over T steps, starting at potential zero.

    Args:
        current: input [T, ...], or [1, ...] if it is constant.
        steps: T.
        params: the neuron.
        keep: whether to return the potentials of all steps.

    Returns:
        Potentials u and spikes, both [T, ...]. Without `keep` the potentials are a placeholder [1, ...].
    """
    spikes = current.new_empty(steps, *current.shape[1:])
    potentials = spikes.new_empty(steps if keep else 1, *current.shape[1:])
    (decay, gain), (fade, refraction) = params.response, params.refraction
    charge, response, fired, refractory = (torch.zeros_like(spikes[0]) for _ in range(4))
    for t in range(steps):
        u = potentials[t if keep else 0]
        response.add_(charge).mul_(decay)
        charge.mul_(decay).add_(current[min(t, len(current) - 1)])
        refractory.add_(fired).mul_(fade)
        torch.mul(response, gain, out=u).sub_(refractory * refraction)
        torch.ge(u, params.threshold, out=spikes[t])
        fired.mul_(fade).add_(spikes[t])
    return potentials, spikes


def backward(
    potentials: Tensor, grad: Tensor, params: SRMParameters, held: bool, grad_potential: Tensor | None = None
) -> Tensor:
    """Gradient of the current: dL/du = dL/ds rho(u), filtered with eps backward in time.

    Args:
        potentials: u [T, ...].
        grad: gradient of the spikes [T, ...].
        params: the neuron.
        held: whether one current was used in all steps.
        grad_potential: gradient of the potentials [T, ...], if the loss also depends on them.

    Returns:
        The gradient of the current [T, ...], or [1, ...] if it is constant.
    """
    decay, gain = params.response
    credit = (potentials - params.threshold).abs_().mul_(-1 / params.width).exp_().mul_(1 / params.width).mul_(grad)
    if grad_potential is not None:
        credit.add_(grad_potential)
    charge, response = torch.zeros_like(credit[0]), torch.zeros_like(credit[0])
    for t in range(len(credit) - 1, -1, -1):
        response.add_(charge).mul_(decay)
        charge.mul_(decay).add_(credit[t])
        torch.mul(response, gain, out=credit[t])
    return credit.sum(0, keepdim=True) if held else credit
