"""Compiled: find the active inputs, as one bit each, and whether all active inputs have one value, as spikes do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from llvmlite import ir
from numba.extending import intrinsic
from numpy.typing import NDArray
from torch import Tensor

from tsnn_uq.fast.jit import kernel
from tsnn_uq.fast.simd import BITS, FLOATS, bit_count, fill, load, to_bits
from tsnn_uq.fast.threads import parallel_ranges

__all__ = ["Bits", "find_active", "find_active_packed", "transposed"]

WORD = 32


@dataclass(frozen=True)
class Bits:
    """Which inputs [M, in] are active, that is, not zero.

    Attributes:
        words: uint32 [ceil(in / 32), M]: input i of row m is bit i % 32 of word i / 32.
        inputs: number of inputs, in.
        value: value of all active inputs, or ``None`` if their values differ.
        share: share of active inputs.
    """

    words: NDArray[np.uint32]
    inputs: int
    value: float | None
    share: float


def find_active(inputs: Tensor) -> Bits:
    """Find the active inputs among [M, in]."""
    array = inputs.contiguous().numpy()
    rows, size = array.shape
    words = np.empty((-(-size // WORD), rows), np.uint32)
    value = _first_active(array.reshape(-1))
    alike: list[bool] = []
    parallel_ranges(lambda first, last: alike.append(_mark(array, value, words, first, last)), rows, least=64)
    return Bits(words, size, float(value) if all(alike) else None, _share(words, array.size))


def find_active_packed(packed: Tensor, inputs: int) -> Bits:
    """Find the active inputs among packed spikes, uint8 [M, ceil(in / 8)], lowest bit first; padding is ignored."""
    bits = np.zeros((len(packed), -(-inputs // WORD)), np.uint32)
    bits.view(np.uint8)[:, : packed.shape[1]] = packed.numpy()
    if inputs % WORD:
        bits[:, -1] &= np.uint32(2 ** (inputs % WORD) - 1)
    words = np.ascontiguousarray(bits.T)
    return Bits(words, inputs, 1.0, _share(words, len(packed) * inputs))


def transposed(bits: Bits) -> NDArray[np.uint32]:
    """Transpose the bits to [in, M]: words uint32 [ceil(M / 32), in]."""
    words = np.empty((-(-bits.words.shape[1] // WORD), bits.inputs), np.uint32)
    parallel_ranges(lambda first, last: _transpose(bits.words, words, first, last), len(words))
    return words


def _share(words: NDArray[np.uint32], size: int) -> float:
    counts: list[int] = []
    parallel_ranges(lambda first, last: counts.append(_count(words, first, last)), len(words))
    return sum(counts) / max(size, 1)


@intrinsic
def _not_zero(typing: Any, values: Any) -> Any:
    """Which of 32 floats are not zero; NaN is not zero."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.fcmp_unordered("!=", arguments[0], ir.Constant(FLOATS.llvm, None))

    return BITS(FLOATS), generate


@intrinsic
def _equal(typing: Any, left: Any, right: Any) -> Any:
    """Which of 32 pairs of floats are equal; NaN equals nothing."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.fcmp_ordered("==", *arguments)

    return BITS(FLOATS, FLOATS), generate


@kernel
def _first_active(values: Any) -> Any:
    for value in values:
        if value != 0:
            return value
    return np.float32(1)


@kernel
def _mark(inputs: Any, value: Any, words: Any, first: int, last: int) -> bool:
    """Write the words of rows `first` to `last`; return whether all their active inputs equal `value`."""
    size = inputs.shape[1]
    whole, rest = divmod(size, WORD)
    flat = inputs.reshape(-1)
    edge = np.zeros(WORD, np.float32)
    wanted = fill(value)
    others = np.uint32(0)
    for m in range(first, last):
        for number in range(len(words)):
            if number < whole:
                lanes = load(flat, m * size + WORD * number)
            else:
                edge[:rest] = inputs[m, size - rest :]
                lanes = load(edge, 0)
            active = to_bits(_not_zero(lanes))
            others |= active ^ to_bits(_equal(lanes, wanted))
            words[number, m] = active
    return others == 0


@kernel
def _count(words: Any, first: int, last: int) -> int:
    count = 0
    for number in range(first, last):
        for word in words[number]:
            count += bit_count(word)
    return count


@kernel
def _transpose(words: Any, result: Any, first: int, last: int) -> None:
    """Transpose blocks of 32 x 32 bits by exchanging halves, quarters and so on (Warren, Hacker's Delight, 7-3)."""
    columns = result.shape[1]
    square = np.empty(WORD, np.uint32)
    for block in range(first, last):
        height = min(WORD, words.shape[1] - block * WORD)
        for number in range(len(words)):
            square[height:] = 0
            for row in range(height):
                square[row] = words[number, block * WORD + row]
            _transpose_block(square)
            for column in range(min(WORD, columns - number * WORD)):
                result[block, number * WORD + column] = square[column]


@kernel
def _transpose_block(square: Any) -> None:
    """Transpose 32 words of 32 bits in place."""
    width, mask = np.uint32(16), np.uint32(0x0000FFFF)
    while width:
        row = np.uint32(0)
        while row < WORD:
            low, high = square[row], square[row + width]
            moved = (low >> width ^ high) & mask
            square[row + width] = high ^ moved
            square[row] = low ^ np.uint32(moved << width)
            row = (row + width + np.uint32(1)) & ~width
        width >>= np.uint32(1)
        mask ^= np.uint32(mask << width)
