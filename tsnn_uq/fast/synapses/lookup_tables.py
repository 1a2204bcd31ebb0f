"""Compiled: multiply a matrix of bits by a dense matrix, with tables of all sums of four rows.

The weights of four inputs that are 0 or 1 have sixteen possible sums. The sums are tabulated for 32 inputs and 32
outputs at a time, 16 kB that fit into the first-level cache. Then each row of 32 bits takes eight additions of a line
of a table, where a dense product takes 32 multiplications (the method of four Russians: Arlazarov, Dinic, Kronrod and
Faradzhev, 1970). Bits only select addresses, so the time does not depend on how many are set. One thread computes each
sum, in the order of the bits.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tsnn_uq.fast.jit import inlined, kernel
from tsnn_uq.fast.simd import fill, load, store
from tsnn_uq.fast.threads import parallel_ranges

__all__ = ["multiply_bits"]

WORD = 32  # bits of a word, and outputs of a line
GROUP = 4  # bits that are looked up together
LINES = 2**GROUP  # lines of a table
TABLE = LINES * WORD  # numbers of a table


def multiply_bits(
    words: NDArray[np.uint32], dense: NDArray[np.float32], factor: float, result: NDArray[np.float32]
) -> None:
    """Write factor * bits @ dense into `result`.

    Args:
        words: bits [R, K] as words [ceil(K / 32), R], with column k in bit k % 32 of word k / 32 and zeros as padding.
        dense: [K, out], contiguous by rows or by columns.
        factor: value of a set bit.
        result: [R, out], contiguous by rows or by columns.
    """
    arrays = (words, _flat(dense), _flat(result))
    sizes = (*dense.shape, *_steps(dense), *_steps(result))
    strips = -(-dense.shape[1] // WORD)
    parallel_ranges(lambda first, last: _multiply(*arrays, np.float32(factor), *sizes, first, last), strips)


def _flat(array: NDArray[np.float32]) -> NDArray[np.float32]:
    """A flat view of a matrix that is contiguous by rows or by columns."""
    assert array.flags.c_contiguous or array.flags.f_contiguous
    return array.reshape(-1) if array.flags.c_contiguous else array.T.reshape(-1)


def _steps(array: NDArray[np.float32]) -> tuple[int, int]:
    """Distance in elements between rows, and between columns."""
    return array.strides[0] // array.itemsize, array.strides[1] // array.itemsize


@kernel
def _multiply(
    words: Any,
    dense: Any,
    result: Any,
    factor: Any,
    depth: int,
    outputs: int,
    depth_step: int,
    output_step: int,
    row_step: int,
    column_step: int,
    first: int,
    last: int,
) -> None:
    blocks, rows = words.shape
    sums = np.empty(rows * WORD, np.float32)
    tables = np.empty(WORD // GROUP * TABLE, np.float32)
    lines = np.zeros(WORD * WORD, np.float32)
    for strip in range(first, last):
        width = min(WORD, outputs - strip * WORD)
        lines[:] = 0
        sums[:] = 0
        for block in range(blocks):
            height = min(WORD, depth - block * WORD)
            start = block * WORD * depth_step + strip * WORD * output_step
            for k in range(height):
                for lane in range(width):
                    lines[k * WORD + lane] = dense[np.uintp(start + k * depth_step + lane * output_step)]
            _tabulate(lines, tables)
            _add(words, block, tables, sums)
        start = strip * WORD * column_step
        if column_step == 1:
            for row in range(rows):
                for lane in range(width):
                    result[np.uintp(start + row * row_step + lane)] = factor * sums[np.uintp(row * WORD + lane)]
        else:
            for lane in range(width):
                for row in range(rows):
                    place = np.uintp(start + row * row_step + lane * column_step)
                    result[place] = factor * sums[np.uintp(row * WORD + lane)]


@kernel
def _tabulate(lines: Any, tables: Any) -> None:
    """Tabulate all sums of four lines each: entry e of a table sums the lines whose bits are set in e."""
    for group in range(WORD // GROUP):
        table = group * TABLE
        store(tables, table, fill(np.float32(0)))
        for k in range(GROUP):
            line = load(lines, (group * GROUP + k) * WORD)
            for entry in range(1 << k):
                store(tables, table + ((1 << k) + entry) * WORD, load(tables, table + entry * WORD) + line)


@kernel
def _add(words: Any, block: int, tables: Any, sums: Any) -> None:
    """Add to the sums of each row the table entries for one word of its bits."""
    for row in range(words.shape[1]):
        word = np.intp(words[block, np.uintp(row)])
        if word:  # pairwise sums, since rounding errors grow with the length of a chain of additions
            low = (_line(tables, word, 0) + _line(tables, word, 1)) + (_line(tables, word, 2) + _line(tables, word, 3))
            high = (_line(tables, word, 4) + _line(tables, word, 5)) + (_line(tables, word, 6) + _line(tables, word, 7))
            store(sums, row * WORD, load(sums, row * WORD) + (low + high))


@inlined
def _line(tables: Any, word: int, group: int) -> Any:
    """The table entry for one group of bits."""
    return load(tables, group * TABLE + (word >> (GROUP * group) & (LINES - 1)) * WORD)
