"""Compiled: sum over active inputs only, for inputs that are rarely active.

Active inputs are lists in CSR form: those of row m are entries starts[m] to starts[m + 1] of places and values. They
are read off one bit per input, so the inputs themselves are read once, or never if they are packed. 64 outputs at a
time are summed in registers, or for the gradient in a strip of the weights that fits into the cache. One thread
computes each sum, in the order of the inputs or rows.

Measured in process time (0.6 % of 2,312 inputs active, 2 % of 500, 5 % of 784; 500 outputs): the forward pass takes
0.76, 0.70 and 0.57 of the time of torch's CSR products, and 0.42, 0.52 and 0.74 of that of tables; the gradient of the
weights takes 0.80, 0.41 and 0.45 of the time of CSR.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import pad

from tsnn_uq.fast.jit import kernel
from tsnn_uq.fast.simd import bit_count, fill, load, multiply_add, store
from tsnn_uq.fast.synapses.bits import Bits
from tsnn_uq.fast.threads import parallel_ranges

__all__ = ["ActiveInputs", "add_outer", "add_rows", "list_active"]

STRIP = 64  # outputs in registers together


@dataclass(frozen=True)
class ActiveInputs:
    """Lists of the inputs of each row that are not zero."""

    starts: NDArray[np.int64]
    places: NDArray[np.int32]
    values: NDArray[np.float32]


def list_active(bits: Bits, inputs: Tensor | None = None) -> ActiveInputs:
    """List the active inputs; if their values differ, the values are read from the inputs [M, in]."""
    rows = bits.words.shape[1]
    starts = np.zeros(rows + 1, np.int64)
    parallel_ranges(lambda first, last: _count(bits.words, starts, first, last), rows, least=64)
    np.cumsum(starts, out=starts)
    places = np.empty(starts[-1], np.int32)
    parallel_ranges(lambda first, last: _list(bits.words, starts, places, first, last), rows, least=64)
    if bits.value is not None:
        return ActiveInputs(starts, places, np.full(len(places), bits.value, np.float32))
    assert inputs is not None
    values = np.empty(len(places), np.float32)
    array = inputs.contiguous().numpy()
    parallel_ranges(lambda first, last: _look_up(array, starts, places, values, first, last), rows, least=64)
    return ActiveInputs(starts, places, values)


def add_rows(active: ActiveInputs, weight: Tensor) -> Tensor:
    """Sum value * weight over the active inputs of each row: [M, out]."""
    outputs = len(weight)
    columns = pad(weight.detach(), (0, 0, 0, -outputs % STRIP)).unflatten(0, (-1, STRIP)).transpose(1, 2)
    columns = columns.contiguous()  # strips of 64 outputs [strips, in, 64], each contiguous for the cache
    sums = weight.new_empty(len(active.starts) - 1, outputs)
    arrays = (active.starts, active.places, active.values, columns.numpy().reshape(-1), sums.numpy())
    parallel_ranges(lambda first, last: _add_rows(*arrays, weight.shape[1], first, last), len(sums), least=16)
    return sums


def add_outer(active: ActiveInputs, grad: Tensor, inputs: int) -> Tensor:
    """Sum grad [M, out] times value over rows, at the active inputs: the gradient of the weights [out, in]."""
    outputs = grad.shape[1]
    strips = -(-outputs // STRIP)
    columns = grad.new_zeros(strips, inputs, STRIP)
    arrays = (active.starts, active.places, active.values, grad.numpy(), columns.numpy().reshape(-1))
    parallel_ranges(lambda first, last: _add_outer(*arrays, inputs, first, last), strips)
    return columns.transpose(1, 2).flatten(0, 1)[:outputs]


@kernel
def _count(words: Any, starts: Any, first: int, last: int) -> None:
    for m in range(first, last):
        count = np.int64(0)
        for number in range(len(words)):
            count += bit_count(words[number, m])
        starts[m + 1] = count


@kernel
def _list(words: Any, starts: Any, places: Any, first: int, last: int) -> None:
    one = np.uint32(1)
    for m in range(first, last):
        k = starts[m]
        for number in range(len(words)):
            word = words[number, m]
            while word != 0:
                rest = np.uint32(word & (word - one))  # without its lowest bit
                places[k] = 32 * number + bit_count(np.uint32((word ^ rest) - one))
                word = rest
                k += 1


@kernel
def _look_up(inputs: Any, starts: Any, places: Any, values: Any, first: int, last: int) -> None:
    for m in range(first, last):
        for k in range(starts[m], starts[m + 1]):
            values[k] = inputs[m, places[k]]


@kernel
def _add_rows(
    starts: Any, places: Any, values: Any, columns: Any, sums: Any, inputs: int, first: int, last: int
) -> None:
    outputs = sums.shape[1]
    edge = np.empty(STRIP, np.float32)
    zero = fill(np.float32(0))
    flat = sums.reshape(-1)
    for strip in range(0, outputs, STRIP):
        for m in range(first, last):
            low, high = zero, zero
            for k in range(starts[m], starts[m + 1]):
                start = inputs * strip + np.intp(places[k]) * STRIP
                value = fill(values[k])
                low = multiply_add(value, load(columns, start), low)
                high = multiply_add(value, load(columns, start + 32), high)
            if strip + STRIP <= outputs:
                store(flat, m * outputs + strip, low)
                store(flat, m * outputs + strip + 32, high)
            else:
                store(edge, 0, low)
                store(edge, 32, high)
                sums[m, strip:] = edge[: outputs - strip]


@kernel
def _add_outer(
    starts: Any, places: Any, values: Any, grad: Any, columns: Any, inputs: int, first: int, last: int
) -> None:
    outputs = grad.shape[1]
    edge = np.zeros(STRIP, np.float32)
    flat = grad.reshape(-1)
    for number in range(first, last):
        strip = number * STRIP
        for m in range(len(grad)):
            if strip + STRIP <= outputs:
                low, high = load(flat, m * outputs + strip), load(flat, m * outputs + strip + 32)
            else:
                edge[: outputs - strip] = grad[m, strip:]
                low, high = load(edge, 0), load(edge, 32)
            for k in range(starts[m], starts[m + 1]):
                start = inputs * strip + np.intp(places[k]) * STRIP
                value = fill(values[k])
                store(columns, start, multiply_add(value, low, load(columns, start)))
                store(columns, start + 32, multiply_add(value, high, load(columns, start + 32)))
