"""The scan of LIF neurons compiled for the CPU: all steps of one block of neurons while the block is in the cache.

The results are those of `tsnn_uq.neurons.lif_reference`, with threshold, reset and surrogate gradient fused into one
pass over memory forward and one backward. Neurons are independent, so the number of threads does not change results.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tsnn_uq.fast.jit import kernel
from tsnn_uq.fast.threads import parallel_ranges
from tsnn_uq.neurons.lif_parameters import LIFParameters

__all__ = ["backward", "forward"]

BLOCK = 2048  # neurons whose potentials, currents and spikes of a step fit into 32 KiB
FUSED = {"arctan": 0, "triangle": 1}  # surrogates computed in the kernel
PRECOMPUTED = 2


def forward(current: Tensor, steps: int, params: LIFParameters, keep: bool = True) -> tuple[Tensor, Tensor]:
    """Compute charged potentials and spikes [T, ...]; see `tsnn_uq.neurons.lif_reference.forward`."""
    spikes = current.new_empty(steps, *current.shape[1:])
    charged = spikes.new_empty(steps if keep else 1, *current.shape[1:])
    arrays = [tensor.reshape(len(tensor), -1).numpy() for tensor in (current.detach(), charged, spikes)]
    decay, threshold = (arrays[0].dtype.type(value) for value in (params.decay, params.threshold))

    def run(first: int, last: int) -> None:
        _forward(*arrays, decay, threshold, params.reset == "hard", first, last)

    parallel_ranges(run, spikes[0].numel(), least=4 * BLOCK)
    return charged, spikes


def backward(
    charged: Tensor, grad: Tensor, params: LIFParameters, held: bool, learns: bool = False
) -> tuple[Tensor, Tensor | None]:
    """Compute gradients of the current and of the decay; see `tsnn_uq.neurons.lif_reference.backward`."""
    kind = FUSED.get(params.surrogate.name, PRECOMPUTED)
    slopes = params.surrogate.derivative_(charged - params.threshold) if kind == PRECOMPUTED else charged
    grad_current = torch.empty_like(charged[:1] if held else charged)
    grad_decay = torch.empty_like(charged[:1]) if learns else charged[:0]
    tensors = (charged, slopes, grad, grad_current, grad_decay)
    arrays = [tensor.reshape(len(tensor), charged[0].numel()).numpy() for tensor in tensors]
    constants = (arrays[0].dtype.type(value) for value in (params.decay, params.threshold, params.surrogate.alpha))
    decay, threshold, alpha = constants
    hard, attached = params.reset == "hard", not params.detach_reset

    def run(first: int, last: int) -> None:
        _backward(*arrays, decay, threshold, alpha, kind, hard, attached, first, last)

    parallel_ranges(run, charged[0].numel(), least=4 * BLOCK)
    return grad_current, grad_decay[0] if learns else None


@kernel
def _forward(
    current: Any, charged: Any, spikes: Any, decay: Any, threshold: Any, hard: bool, first: int, last: int
) -> None:
    """Scan neurons `first` to `last`: current [T or 1, M] to charged potentials [T or 1, M] and spikes [T, M]."""
    potentials = np.empty(BLOCK, current.dtype)
    for start in range(first, last, BLOCK):
        size = min(BLOCK, last - start)
        potential = potentials[:size]
        potential[:] = 0
        for t in range(len(spikes)):
            x = current[min(t, len(current) - 1), start : start + size]
            h = charged[min(t, len(charged) - 1), start : start + size]
            s = spikes[t, start : start + size]
            for i in range(size):
                value = decay * potential[i] + x[i]
                fires = value >= threshold
                after = 0 if hard else value - threshold
                h[i] = value
                s[i] = fires
                potential[i] = after if fires else value


@kernel
def _backward(
    charged: Any,
    slopes: Any,
    grad: Any,
    grad_current: Any,
    grad_decay: Any,
    decay: Any,
    threshold: Any,
    alpha: Any,
    kind: int,
    hard: bool,
    attached: bool,
    first: int,
    last: int,
) -> None:
    """Scan neurons `first` to `last` backward; the gradient [1, M] of a constant current is the sum over all steps.

    The gradient of the decay is written if `grad_decay` is [1, M], and not if it is [0, M].
    """
    one = threshold / threshold
    stretch = alpha * charged.dtype.type(math.pi / 2)
    carries = np.empty(BLOCK, charged.dtype)
    held = len(grad_current) < len(charged)
    for start in range(first, last, BLOCK):
        size = min(BLOCK, last - start)
        carry = carries[:size]  # dL/dh of the next step
        carry[:] = 0
        if held:
            grad_current[0, start : start + size] = 0
        grad_decay[:, start : start + size] = 0
        for t in range(len(charged) - 1, -1, -1):
            h = charged[t, start : start + size]
            given = slopes[t, start : start + size]
            g = grad[t, start : start + size]
            out = grad_current[0 if held else t, start : start + size]
            for row in range(len(grad_decay)):  # 0 or 1
                total = grad_decay[row, start : start + size]
                for i in range(size):
                    after = h[i] * (one - one) if hard else h[i] - threshold
                    total[i] += carry[i] * (after if h[i] >= threshold else h[i])
            for i in range(size):
                x = h[i] - threshold
                if kind == 0:
                    slope = one / (one + (stretch * x) * (stretch * x)) * (alpha / (one + one))
                elif kind == 1:
                    slope = max(alpha - alpha * alpha * abs(x), one - one)
                else:
                    slope = given[i]
                keep = one  # dv'/dh
                if hard:
                    keep = one - one if x >= 0 else one
                    if attached:
                        keep -= h[i] * slope
                elif attached:
                    keep -= threshold * slope
                value = g[i] * slope + decay * carry[i] * keep
                out[i] = out[i] + value if held else value
                carry[i] = value
