"""The scan of SRM neurons compiled for the CPU: all steps of one block of neurons while the block is in the cache.

The results are those of `tsnn_uq.neurons.srm_reference`, in one pass over memory forward and one backward. Neurons are
independent, so the number of threads does not change results. The states of a block are in one array at constant
offsets, since LLVM does not vectorize a loop over many arrays that might overlap.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from llvmlite import ir
from numba import types
from numba.extending import intrinsic, overload
from torch import Tensor

from tsnn_uq.fast.jit import inlined, kernel
from tsnn_uq.fast.threads import parallel_ranges
from tsnn_uq.neurons.srm_parameters import SRMParameters

__all__ = ["backward", "forward"]

BLOCK = 1024  # neurons whose states, currents, potentials and spikes of a step fit into 32 KiB


# From Cephes' expf (Moshier): ln 2 as a sum of a short and a small number, and coefficients of (exp(x) - 1 - x) / x^2
# for |x| < ln(2)/2.
LOG2_E, LN_2_HIGH, LN_2_LOW = (np.float32(value) for value in (math.log2(math.e), 0.693359375, -2.12194440e-4))
C5, C4, C3 = np.float32(1.9875691500e-4), np.float32(1.3981999507e-3), np.float32(8.3334519073e-3)
C2, C1, C0 = np.float32(4.1665795894e-2), np.float32(1.6666665459e-1), np.float32(5.0000001201e-1)
ONE, HALF, FARTHEST = np.float32(1), np.float32(0.5), np.float32(87)


@intrinsic
def float_of_bits(typing: Any, bits: Any) -> Any:
    """The float32 whose bits are those of an int32."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], ir.FloatType())

    return types.float32(types.int32), generate


def decayed(x: Any) -> Any:
    """Compute exp(-x) for x >= 0."""
    return math.exp(-x)


@overload(decayed, strict=False)
def _decayed(x: Any) -> Any:
    """In single precision, compute it without a call, so that LLVM vectorizes the loop around it."""
    if x != types.float32:
        return lambda x: math.exp(-x)

    def single(x: Any) -> Any:
        x = FARTHEST if x > FARTHEST else x  # keeps NaN
        power = np.floor(x * LOG2_E + HALF)
        r = power * LN_2_HIGH - x + power * LN_2_LOW
        y = (((((C5 * r + C4) * r + C3) * r + C2) * r + C1) * r + C0) * (r * r) + r + ONE
        return y * float_of_bits(np.int32((np.int32(127) - np.int32(power)) << 23))

    return single


@inlined
def settled(x: Any, tiny: Any) -> Any:
    """Replace a subnormal `x` by zero: states of silent neurons become subnormal, which slows down many processors."""
    return tiny - tiny if abs(x) < tiny else x


def forward(current: Tensor, steps: int, params: SRMParameters, keep: bool = True) -> tuple[Tensor, Tensor]:
    """Compute potentials and spikes [T, ...]; see `tsnn_uq.neurons.srm_reference.forward`."""
    spikes = current.new_empty(steps, *current.shape[1:])
    potentials = spikes.new_empty(steps if keep else 1, *current.shape[1:])
    neurons = spikes[0].numel()
    arrays = [tensor.reshape(len(tensor), neurons).numpy() for tensor in (current.detach(), potentials, spikes)]
    constants = (*params.response, *params.refraction, params.threshold, torch.finfo(current.dtype).tiny)
    rounded = [arrays[0].dtype.type(value) for value in constants]
    parallel_ranges(lambda first, last: _forward(*arrays, *rounded, first, last), neurons, least=4 * BLOCK)
    return potentials, spikes


def backward(potentials: Tensor, grad: Tensor, params: SRMParameters, held: bool) -> Tensor:
    """Compute the gradient of the current; see `tsnn_uq.neurons.srm_reference.backward`."""
    grad_current = torch.empty_like(potentials[:1] if held else potentials)
    neurons = potentials[0].numel()
    arrays = [tensor.reshape(len(tensor), neurons).numpy() for tensor in (potentials, grad, grad_current)]
    constants = (*params.response, params.threshold, 1 / params.width, torch.finfo(grad.dtype).tiny)
    rounded = [arrays[0].dtype.type(value) for value in constants]
    parallel_ranges(lambda first, last: _backward(*arrays, *rounded, first, last), neurons, least=4 * BLOCK)
    return grad_current


@kernel
def _forward(
    current: Any,
    potentials: Any,
    spikes: Any,
    decay: Any,
    gain: Any,
    fade: Any,
    refraction: Any,
    threshold: Any,
    tiny: Any,
    first: int,
    last: int,
) -> None:
    """Scan neurons `first` to `last`: current [T or 1, M] to potentials [T or 1, M] and spikes [T, M]."""
    states = np.empty(4 * BLOCK, current.dtype)  # charge, response, fired, refractory
    for start in range(first, last, BLOCK):
        size = min(BLOCK, last - start)
        states[:] = 0
        for t in range(len(spikes)):
            x = current[min(t, len(current) - 1), start : start + size]
            u = potentials[min(t, len(potentials) - 1), start : start + size]
            s = spikes[t, start : start + size]
            for i in range(size):
                response = (states[BLOCK + i] + states[i]) * decay
                refractory = (states[3 * BLOCK + i] + states[2 * BLOCK + i]) * fade
                states[i] = settled(states[i] * decay + x[i], tiny)
                potential = response * gain - refractory * refraction
                fires = current.dtype.type(potential >= threshold)
                states[BLOCK + i] = settled(response, tiny)
                states[2 * BLOCK + i] = settled(states[2 * BLOCK + i] * fade + fires, tiny)
                states[3 * BLOCK + i] = settled(refractory, tiny)
                u[i] = potential
                s[i] = fires


@kernel
def _backward(
    potentials: Any,
    grad: Any,
    grad_current: Any,
    decay: Any,
    gain: Any,
    threshold: Any,
    steepness: Any,
    tiny: Any,
    first: int,
    last: int,
) -> None:
    """Scan neurons `first` to `last` backward; the gradient [1, M] of a constant current is the sum over all steps."""
    states = np.empty(2 * BLOCK, potentials.dtype)  # charge, response
    held = len(grad_current) < len(potentials)
    for start in range(first, last, BLOCK):
        size = min(BLOCK, last - start)
        states[:] = 0
        if held:
            grad_current[0, start : start + size] = 0
        for t in range(len(potentials) - 1, -1, -1):
            u = potentials[t, start : start + size]
            g = grad[t, start : start + size]
            out = grad_current[0 if held else t, start : start + size]
            for i in range(size):
                credit = decayed(abs(u[i] - threshold) * steepness) * steepness * g[i]
                response = (states[BLOCK + i] + states[i]) * decay
                states[i] = settled(states[i] * decay + credit, tiny)
                states[BLOCK + i] = settled(response, tiny)
                out[i] = response * gain + (out[i] if held else 0 * gain)
