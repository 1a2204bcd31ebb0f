"""The compiled sums over active inputs.

Active inputs stand as lists: those of row m are entries starts[m] .. starts[m + 1] of places and values. They are made
from one bit an input, so that the inputs themselves are read once, or never where they come packed. 64 outputs at a
time are added up in registers, or for the gradient in a strip of the weights that stays in the cache. Each number is
summed in the order of the inputs, or of the rows, by one thread.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit
from numba.extending import intrinsic
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import pad

from tsnn_uq.simd import BITS, FLOATS, bit_count, bits_of, fill, load, multiply_add, store
from tsnn_uq.threads import parts

__all__ = ["Active", "add_outer", "add_rows", "list_active", "list_packed"]

STRIP = 64  # outputs in registers together
SOURCES = "98477a3ecb949033"  # of simd, SHA-256; see `tsnn_uq.engine.kernels`

compiled = njit(nogil=True, cache=True, error_model="numpy")


@dataclass(frozen=True)
class Active:
    """The inputs of each row that are not zero."""

    starts: NDArray[np.int64]
    places: NDArray[np.int32]
    values: NDArray[np.float32]
    share: float


def list_active(inputs: Tensor, most: float) -> Active | None:
    """List the inputs [M, in] that are not zero; ``None`` if they are more than the share `most`."""
    array = inputs.contiguous().numpy()
    bits = np.empty((len(array), -(-array.shape[1] // 32)), np.uint32)
    parts(lambda first, last: _mark(array, bits, first, last), len(array), least=64)
    active = _list_bits(bits, most, array.size)
    if active is not None:
        arrays = (array, active.starts, active.places, active.values)
        parts(lambda first, last: _look_up(*arrays, first, last), len(array), least=64)
    return active


def list_packed(packed: Tensor, inputs: int, most: float) -> Active | None:
    """`list_active` of bits, uint8 [M, ceil(in / 8)], the first in the lowest; what follows the last is ignored."""
    bits = np.zeros((len(packed), -(-inputs // 32)), np.uint32)
    bits.view(np.uint8)[:, : packed.shape[1]] = packed.numpy()
    if inputs % 32:
        bits[:, -1] &= np.uint32(2 ** (inputs % 32) - 1)
    return _list_bits(bits, most, len(packed) * inputs)


def _list_bits(bits: NDArray[np.uint32], most: float, size: int) -> Active | None:
    """List what is set in bits [M, words] of so many inputs, with values of 1."""
    starts = np.zeros(len(bits) + 1, np.int64)
    parts(lambda first, last: _count(bits, starts, first, last), len(bits), least=64)
    np.cumsum(starts, out=starts)
    if starts[-1] > most * size:
        return None
    places = np.empty(starts[-1], np.int32)
    parts(lambda first, last: _list(bits, starts, places, first, last), len(bits), least=64)
    return Active(starts, places, np.ones(len(places), np.float32), len(places) / max(size, 1))


def add_rows(active: Active, weight: Tensor) -> Tensor:
    """Sums [M, out] of value * weight over the active inputs of each row."""
    outputs = len(weight)
    columns = pad(weight.detach(), (0, 0, 0, -outputs % STRIP)).unflatten(0, (-1, STRIP)).transpose(1, 2)
    columns = columns.contiguous()  # strips of 64 outputs [strips, in, 64], each in one piece for the cache
    sums = weight.new_empty(len(active.starts) - 1, outputs)
    arrays = (active.starts, active.places, active.values, columns.numpy().reshape(-1), sums.numpy())
    parts(lambda first, last: _add_rows(*arrays, weight.shape[1], first, last), len(sums), least=16)
    return sums


def add_outer(active: Active, grad: Tensor, inputs: int) -> Tensor:
    """The weights' gradient [out, in]: the sum over rows of grad [M, out] times value, at the active inputs."""
    outputs = grad.shape[1]
    strips = -(-outputs // STRIP)
    columns = grad.new_zeros(strips, inputs, STRIP)
    arrays = (active.starts, active.places, active.values, grad.numpy(), columns.numpy().reshape(-1))
    parts(lambda first, last: _add_outer(*arrays, inputs, first, last), strips)
    return columns.transpose(1, 2).flatten(0, 1)[:outputs]


@intrinsic
def _not_zero(typing: Any, values: Any) -> Any:
    """Lanes of 32 floats that are not zero; not a number is not zero."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.fcmp_unordered("!=", arguments[0], ir.Constant(FLOATS.llvm, None))

    return BITS(FLOATS), generate


@compiled
def _mark(inputs: Any, bits: Any, first: int, last: int) -> None:
    size = inputs.shape[1]
    flat = inputs.reshape(-1)
    edge = np.zeros(32, np.float32)
    for m in range(first, last):
        for word in range(size // 32):
            bits[m, word] = bits_of(_not_zero(load(flat, m * size + 32 * word)))
        if size % 32:
            edge[: size % 32] = inputs[m, size - size % 32 :]
            bits[m, size // 32] = bits_of(_not_zero(load(edge, 0)))


@compiled
def _count(bits: Any, starts: Any, first: int, last: int) -> None:
    for m in range(first, last):
        count = np.int64(0)
        for word in range(bits.shape[1]):
            count += bit_count(bits[m, word])
        starts[m + 1] = count


@compiled
def _list(bits: Any, starts: Any, places: Any, first: int, last: int) -> None:
    one = np.uint32(1)
    for m in range(first, last):
        k = starts[m]
        for number in range(bits.shape[1]):
            word = bits[m, number]
            while word != 0:
                rest = np.uint32(word & (word - one))  # without its lowest bit
                places[k] = 32 * number + bit_count(np.uint32((word ^ rest) - one))
                word = rest
                k += 1


@compiled
def _look_up(inputs: Any, starts: Any, places: Any, values: Any, first: int, last: int) -> None:
    for m in range(first, last):
        for k in range(starts[m], starts[m + 1]):
            values[k] = inputs[m, places[k]]


@compiled
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


@compiled
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
