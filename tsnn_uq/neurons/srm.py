"""The spike response model (SRM) neuron of SLAYER (Shrestha and Orchard, NeurIPS 2018).

Sampled at t = k step, with the sums written out,

    u[t] = sum over k of eps[k] x[t-k] + sum over k of nu[k] s[t-k],  s[t] = 1 where u[t] >= theta,
    eps(t) = t/tau_s exp(1 - t/tau_s),  nu(t) = -refractory theta t/tau_r exp(1 - t/tau_r).

x is the weighted sum of input spikes: eps and the weights commute. As eps[0] = nu[0] = 0, inputs and spikes act on
later steps only. The scan has two implementations, `srm_reference` (PyTorch) and `tsnn_uq.fast.scans.srm` (compiled);
tests compare both with the sums above.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from tsnn_uq.fast.compilers import kernels_for
from tsnn_uq.neurons import srm_reference
from tsnn_uq.neurons.input_current import without_repeats
from tsnn_uq.neurons.potentials import PotentialHook, WatchedNeuron
from tsnn_uq.neurons.srm_parameters import SRMParameters

__all__ = ["SRM", "srm_potentials", "srm_scan"]


SCANS = {"numba": "tsnn_uq.fast.scans.srm"}


class _SRMScan(torch.autograd.Function):
    """The scan over T steps. A current of time length 1 is used in all `steps`.

    If potentials are `watched`, they are returned with the spikes; only the reference scan computes gradients through
    them.
    """

    @staticmethod
    def forward(
        ctx: Any, current: Tensor, steps: int, params: SRMParameters, watched: bool
    ) -> Tensor | tuple[Tensor, Tensor]:
        keep = ctx.needs_input_grad[0] or watched
        potentials, spikes = kernels_for(SCANS, srm_reference, current).forward(
            current.contiguous(), steps, params, keep
        )
        if keep:
            ctx.save_for_backward(potentials)
        ctx.params, ctx.held = params, len(current) < steps
        return (spikes, potentials) if watched else spikes

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        (potentials,) = ctx.saved_tensors
        scan = kernels_for(SCANS, srm_reference, potentials) if len(grads) == 1 else srm_reference
        return scan.backward(potentials, grads[0].contiguous(), ctx.params, ctx.held, *grads[1:]), None, None, None


def srm_scan(current: Tensor, params: SRMParameters, *, watch: PotentialHook | None = None) -> Tensor:
    """Run SRM neurons over all time steps, starting at potential zero.

    In the backward pass the derivative of the spike is the density of its escape rate, `rho(u) = exp(-|u - theta| /
    (tau_rho theta)) / (tau_rho theta)`, and dL/dx[t] = sum over k of eps[k] dL/ds[t+k] rho(u[t+k]). No gradient flows
    through the refractory response, as in SLAYER's own implementation.

    Args:
        current: input over time, [T, N, ...]; read once if it is constant over time (stride 0 on the first axis).
        params: the neuron.
        watch: called with the potentials u [T, N, ...], which carry gradients.

    Returns:
        Spikes, 0 or 1, of the shape of `current`.

    Raises:
        InputError: `current` is not [T, N, ...] floats.

    Example:
        >>> spikes = srm_scan(torch.full((8, 1), 5.0), SRMParameters())
        >>> spikes.flatten().tolist()
        [0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 1.0]
    """
    once = without_repeats(current)
    if watch is None:
        return _SRMScan.apply(once, len(current), params, False)
    spikes, potentials = _SRMScan.apply(once, len(current), params, True)
    watch(potentials)
    return spikes


@torch.no_grad()
def srm_potentials(current: Tensor, params: SRMParameters) -> tuple[Tensor, Tensor]:
    """Potentials u [T, N, ...] and spikes [T, N, ...], without gradients; see `srm_scan`."""
    once = without_repeats(current).contiguous()
    potentials, spikes = kernels_for(SCANS, srm_reference, once).forward(once, len(current), params)
    return potentials, spikes


class SRM(WatchedNeuron):
    """A layer of SRM neurons: current [T, N, ...] in, spikes [T, N, ...] out, without state between calls."""

    def __init__(self, params: SRMParameters | None = None) -> None:
        super().__init__()
        self.params = params or SRMParameters()

    def forward(self, current: Tensor) -> Tensor:
        """Spikes of all T steps; see `srm_scan`."""
        return srm_scan(current, self.params, watch=self.watch)

    def extra_repr(self) -> str:
        """Parameters, for ``print(network)``."""
        p = self.params
        return f"threshold={p.threshold}, tau_s_ms={p.tau_s_ms}, tau_r_ms={p.tau_r_ms}, step_ms={p.step_ms}"
