"""The leaky integrate-and-fire (LIF) neuron: one step, and all time steps at once.

`lif_step` is the definition. `lif_scan` computes the same for all time steps [T, ...] as one autograd function whose
forward and backward pass are in `lif_reference` (PyTorch) and `tsnn_uq.fast.scans.lif` (compiled); tests compare both
with the definition.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from tsnn_uq.checks import InputError
from tsnn_uq.devices import widest_float
from tsnn_uq.fast.compilers import kernels_for
from tsnn_uq.neurons import lif_reference
from tsnn_uq.neurons.input_current import without_repeats
from tsnn_uq.neurons.lif_parameters import LIFParameters
from tsnn_uq.neurons.potentials import PotentialHook, WatchedNeuron
from tsnn_uq.neurons.surrogate import spike

__all__ = ["LIF", "lif_scan", "lif_step"]


def lif_step(current: Tensor, potential: Tensor | None, params: LIFParameters) -> tuple[Tensor, Tensor]:
    """Advance LIF neurons by one time step.

    h = decay v + x;  s = 1 if h >= threshold, else 0;  v' = h - threshold s (soft) or h (1 - s) (hard).

    Args:
        current: input x of this step, any shape.
        potential: membrane potential v after the last step, same shape; ``None`` means zero.
        params: the neuron.

    Returns:
        Spikes s (0 or 1) and the membrane potential v' after the reset.

    Raises:
        InputError: `potential` has another shape than `current`.
    """
    if potential is not None and potential.shape != current.shape:
        raise InputError(f"potential: expected shape {list(current.shape)}; got {list(potential.shape)}")
    charged = current if potential is None else params.decay * potential + current
    spikes = spike(charged - params.threshold, params.surrogate)
    reset = spikes.detach() if params.detach_reset else spikes
    if params.reset == "soft":
        return spikes, charged - params.threshold * reset
    return spikes, charged * (1 - reset)


PIECE, LARGE_PIECE = 2**16, 2**24  # numbers whose doubles stay in a processor's cache; few launches of a GPU
SCANS = {"numba": "tsnn_uq.fast.scans.lif", "triton": "tsnn_uq.fast.scans.lif_triton"}


class _LIFScan(torch.autograd.Function):
    """`lif_step` over T steps. A current of time length 1 is used in all `steps`.

    A learned `decay` [] repeats the value in `params` and receives a gradient. If potentials are `watched`, they are
    returned with the spikes; only the reference scan computes gradients through them.
    """

    @staticmethod
    def forward(
        ctx: Any, current: Tensor, decay: Tensor | None, steps: int, params: LIFParameters, watched: bool
    ) -> Tensor | tuple[Tensor, Tensor]:
        keep = ctx.needs_input_grad[0] or ctx.needs_input_grad[1] or watched
        charged, spikes = kernels_for(SCANS, lif_reference, current).forward(current.contiguous(), steps, params, keep)
        if keep:
            ctx.save_for_backward(charged)
        ctx.params, ctx.held = params, len(current) < steps
        return (spikes, charged) if watched else spikes

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor | None, None, None, None]:
        (charged,) = ctx.saved_tensors
        scan, learns = (
            kernels_for(SCANS, lif_reference, charged) if len(grads) == 1 else lif_reference,
            ctx.needs_input_grad[1],
        )
        current, decay = scan.backward(charged, grads[0].contiguous(), ctx.params, ctx.held, learns, *grads[1:])
        return current, None if decay is None else _exact_sum(decay), None, None, None


def _exact_sum(shares: Tensor) -> Tensor:
    """The sum [] of many numbers in float64, if the device has it; computed in pieces to save memory."""
    dtype = widest_float(shares.device)
    size = PIECE if shares.device.type == "cpu" else LARGE_PIECE
    pieces = [piece.sum(dtype=dtype) for piece in shares.flatten().split(size)]
    return torch.stack(pieces).sum().to(shares.dtype)


def lif_scan(
    current: Tensor, params: LIFParameters, decay: Tensor | None = None, *, watch: PotentialHook | None = None
) -> Tensor:
    """Run LIF neurons over all time steps, starting at potential zero.

    Args:
        current: input over time, [T, ...]; if it is constant over time (stride 0 on the first axis), it is read once.
        params: the neuron.
        decay: a learned decay that replaces that of `params`: one number [], 0 to 1.
        watch: called with the membrane potentials before the reset [T, ...], which carry gradients.

    Returns:
        Spikes, 0 or 1, of the shape of `current`.

    Raises:
        InputError: `current` is not [T, N, ...] floats, or `decay` is out of range.
    """
    once = without_repeats(current)
    chosen = params if decay is None else replace(params, decay=decay.item())
    if watch is None:
        return _LIFScan.apply(once, decay, len(current), chosen, False)
    spikes, charged = _LIFScan.apply(once, decay, len(current), chosen, True)
    watch(charged)
    return spikes


class LIF(WatchedNeuron):
    """A layer of LIF neurons: current [T, N, ...] in, spikes [T, N, ...] out, without state between calls."""

    def __init__(self, params: LIFParameters | None = None) -> None:
        super().__init__()
        self.params = params or LIFParameters()

    def forward(self, current: Tensor) -> Tensor:
        """Spikes of all T steps; see `lif_scan`."""
        return lif_scan(current, self.params, watch=self.watch)

    def extra_repr(self) -> str:
        """Parameters, for ``print(network)``."""
        p = self.params
        return f"decay={p.decay}, threshold={p.threshold}, reset={p.reset}, surrogate={p.surrogate.name}"
