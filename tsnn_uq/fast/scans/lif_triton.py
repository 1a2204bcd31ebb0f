"""The scan of LIF neurons compiled for the GPU: one program instance per block of neurons, all steps in registers.

The results are those of `tsnn_uq.neurons.lif_reference`, with the arithmetic of `tsnn_uq.fast.scans.lif`.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from tsnn_uq.neurons.lif_parameters import LIFParameters
from tsnn_uq.neurons.lif_reference import decay_gradient

__all__ = ["backward", "forward"]

BLOCK = 1024  # neurons of a program instance
FUSED = {"arctan": 0, "triangle": 1}  # surrogates computed in the kernel
PRECOMPUTED = 2


def forward(current: Tensor, steps: int, params: LIFParameters, keep: bool = True) -> tuple[Tensor, Tensor]:
    """Compute charged potentials and spikes [T, ...]; see `tsnn_uq.neurons.lif_reference.forward`."""
    spikes = current.new_empty(steps, *current.shape[1:])
    charged = spikes.new_empty(steps if keep else 1, *current.shape[1:])
    neurons = charged[0].numel()
    _forward[(triton.cdiv(neurons, BLOCK),)](
        current,
        charged,
        spikes,
        neurons,
        steps,
        _decay(current, params),
        threshold=params.threshold,
        held=len(current) < steps,
        keep=keep,
        hard=params.reset == "hard",
        block=BLOCK,
        enable_fp_fusion=False,  # products are rounded before they are added, as everywhere else
    )
    return charged, spikes


def backward(
    charged: Tensor, grad: Tensor, params: LIFParameters, held: bool, learns: bool = False
) -> tuple[Tensor, Tensor | None]:
    """Compute gradients of the current and of the decay; see `tsnn_uq.neurons.lif_reference.backward`."""
    if learns:
        grad_charged, _ = backward(charged, grad, params, held=False)
        grad_decay = decay_gradient(charged, grad_charged, params)
        return (grad_charged.sum(0, keepdim=True) if held else grad_charged), grad_decay
    kind = FUSED.get(params.surrogate.name, PRECOMPUTED)
    slopes = params.surrogate.derivative_(charged - params.threshold) if kind == PRECOMPUTED else charged
    grad_current = torch.empty_like(charged[:1] if held else charged)
    neurons = charged[0].numel()
    _backward[(triton.cdiv(neurons, BLOCK),)](
        charged,
        slopes,
        grad,
        grad_current,
        neurons,
        len(charged),
        _decay(charged, params),
        threshold=params.threshold,
        alpha=params.surrogate.alpha,
        held=held,
        hard=params.reset == "hard",
        attached=not params.detach_reset,
        kind=kind,
        block=BLOCK,
        enable_fp_fusion=False,
    )
    return grad_current, None


def _decay(like: Tensor, params: LIFParameters) -> Tensor:
    """The decay as a tensor: as a constant, each value of a learned decay would compile the kernel again."""
    return like.new_full((1,), params.decay)


# Triton evaluates type hints of arguments, so only constants have one.
@triton.jit
def _forward(  # type: ignore[no-untyped-def]
    current,
    charged,
    spikes,
    neurons,
    steps,
    decay_at,
    threshold: tl.constexpr,  # a number given at run time would be rounded to float32
    held: tl.constexpr,
    keep: tl.constexpr,
    hard: tl.constexpr,
    block: tl.constexpr,
) -> None:
    place = tl.program_id(0) * block + tl.arange(0, block)
    inside = place < neurons
    decay = tl.load(decay_at)
    first = tl.load(current + place, mask=inside)
    potential = tl.zeros_like(first)
    for t in range(steps):
        x = first
        if not held:
            x = tl.load(current + t * neurons + place, mask=inside)
        h = decay * potential + x
        fires = h >= threshold
        if keep:
            tl.store(charged + t * neurons + place, h, mask=inside)
        tl.store(spikes + t * neurons + place, fires.to(h.dtype), mask=inside)
        after = tl.zeros_like(h) if hard else h - threshold
        potential = tl.where(fires, after, h)


@triton.jit
def _backward(  # type: ignore[no-untyped-def]
    charged,
    slopes,
    grad,
    grad_current,
    neurons,
    steps,
    decay_at,
    threshold: tl.constexpr,  # a number given at run time would be rounded to float32
    alpha: tl.constexpr,
    held: tl.constexpr,
    hard: tl.constexpr,
    attached: tl.constexpr,
    kind: tl.constexpr,
    block: tl.constexpr,
) -> None:
    place = tl.program_id(0) * block + tl.arange(0, block)
    inside = place < neurons
    decay = tl.load(decay_at)
    carry = tl.zeros_like(tl.load(charged + place, mask=inside))  # dL/dv after the step, times the decay
    total = carry
    for back in range(steps):
        t = steps - 1 - back
        h = tl.load(charged + t * neurons + place, mask=inside)
        g = tl.load(grad + t * neurons + place, mask=inside)
        x = h - threshold
        if kind == 0:
            stretched = 1.5707963267948966 * alpha * x
            slope = alpha / 2 / (1 + stretched * stretched)
        elif kind == 1:
            slope = tl.maximum(alpha - alpha * alpha * tl.abs(x), 0.0)
        else:
            slope = tl.load(slopes + t * neurons + place, mask=inside)
        keep = tl.full([block], 1.0, h.dtype)  # dv'/dh
        if hard:
            keep = tl.where(x >= 0, 0.0, keep)
            if attached:
                keep -= h * slope
        elif attached:
            keep -= threshold * slope
        value = g * slope + carry * keep
        if held:
            total += value
        else:
            tl.store(grad_current + t * neurons + place, value, mask=inside)
        carry = decay * value
    if held:
        tl.store(grad_current + place, total, mask=inside)
