"""Compiled: compute the current into neurons, the sum of the weights of the active inputs times a scale.

A ternary weight is w = low - 2 high in two bits. So 1 - w = (1 - low) + 2 high is never negative, and
sum(w) = (number of active inputs) - sum(1 - w). The bits of 1 - w from one input to all outputs are two rows of
words. Carry-save counters (Harley and Seal) add the rows of the active inputs for 256 outputs at once: bit k of all
counters is in one row, and a full adder of five logical operations adds one row of bits. Silent inputs cost nothing,
nothing is multiplied, and no weight is unpacked.

Layers of up to 128 outputs are faster as sums of signed bytes, with 32 outputs in a vector.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tsnn_uq.fast.jit import compiled, inlined, kernel
from tsnn_uq.fast.simd import (
    fill,
    join_bytes,
    load,
    minus_ones,
    select,
    signed_integers,
    store,
    to_floats,
    to_lanes,
    unsigned_integers,
    zero_bytes,
    zero_words,
)

__all__ = ["NARROW", "add_bytes", "add_weighted", "count_bits", "counted_planes", "signed_codes", "to_current"]

BLOCK = 8  # rows that the counters add together
NARROW = 4  # words of the widest layer that is summed in bytes
MAX_BYTE_SUM = 124  # codes whose sum fits into a signed byte, a multiple of the loop's stride


@inlined
def _full_add(a: Any, b: Any, c: Any) -> Any:
    """Sum and carry of three rows of bits; the path from `c` to the result is the shortest."""
    half = a ^ b
    return half ^ c, (a & b) | (half & c)


@compiled
def count_bits(layer: Any, planes: Any, events: Any, count: int, counters: Any) -> int:
    """Sum 1 - w over the listed rows, for all outputs; return the number of bits of a counter.

    Bit k of all counters is a row of `counters`. Vectors of eight words may read past the end of a row of weights; the
    values there are added to counters that nothing reads.
    """
    words = layer.words
    stride = (words + 7) // 8 * 8
    last_row = layer.kernel_height * layer.kernel_width * layer.channels
    levels = 8  # all bits of the lower byte are read
    while 2 * count >> levels:
        levels += 1
    padded = (count + BLOCK - 1) // BLOCK * BLOCK
    for k in range(count, padded):
        events[k] = last_row * 2 * words  # counts 0
    for word in range(0, words, 8):
        ones, twos, fours, eights = zero_words(), zero_words(), zero_words(), zero_words()
        for level in range(4, levels):
            store(counters, level * stride + word, zero_words())
        start = layer.first_weight + word
        for k in range(0, padded, BLOCK):
            a = start + np.intp(events[np.uintp(k)])
            b = start + np.intp(events[np.uintp(k + 1)])
            c = start + np.intp(events[np.uintp(k + 2)])
            d = start + np.intp(events[np.uintp(k + 3)])
            ones, two_a = _full_add(load(planes, a), load(planes, b), ones)
            ones, two_b = _full_add(load(planes, c), load(planes, d), ones)
            twos, four_a = _full_add(load(planes, a + words), load(planes, b + words), twos)
            twos, four_b = _full_add(load(planes, c + words), load(planes, d + words), twos)
            twos, four_c = _full_add(two_a, two_b, twos)
            a = start + np.intp(events[np.uintp(k + 4)])
            b = start + np.intp(events[np.uintp(k + 5)])
            c = start + np.intp(events[np.uintp(k + 6)])
            d = start + np.intp(events[np.uintp(k + 7)])
            ones, two_a = _full_add(load(planes, a), load(planes, b), ones)
            ones, two_b = _full_add(load(planes, c), load(planes, d), ones)
            twos, four_d = _full_add(load(planes, a + words), load(planes, b + words), twos)
            twos, four_e = _full_add(load(planes, c + words), load(planes, d + words), twos)
            twos, four_f = _full_add(two_a, two_b, twos)
            fours, eight_a = _full_add(four_a, four_b, fours)
            fours, eight_b = _full_add(four_c, four_d, fours)
            fours, eight_c = _full_add(four_e, four_f, fours)
            eights, sixteen_a = _full_add(eight_a, eight_b, eights)
            eights, sixteen_b = eights ^ eight_c, eights & eight_c
            sixteens = load(counters, 4 * stride + word)
            sixteens, carry = _full_add(sixteen_a, sixteen_b, sixteens)
            store(counters, 4 * stride + word, sixteens)
            for level in range(5, levels):
                bits = load(counters, level * stride + word)
                store(counters, level * stride + word, bits ^ carry)
                carry = bits & carry
        store(counters, word, ones)
        store(counters, stride + word, twos)
        store(counters, 2 * stride + word, fours)
        store(counters, 3 * stride + word, eights)
    return levels


@compiled
def to_current(layer: Any, counters: Any, levels: int, count: int, scales: Any, biases: Any, current: Any) -> None:
    """Compute current = scale * (count - counter) + bias."""
    stride = (layer.words + 7) // 8 * 8
    for word in range(layer.words):
        low, high = zero_bytes(), zero_bytes()
        for level in range(7, -1, -1):
            low = low + low - minus_ones(to_lanes(counters[np.uintp(level * stride + word)]))
        if levels > 8:
            for level in range(levels - 1, 7, -1):
                high = high + high - minus_ones(to_lanes(counters[np.uintp(level * stride + word)]))
            sums = to_floats(fill(np.int32(count)) - join_bytes(low, high))
        else:
            sums = to_floats(fill(np.int32(count)) - unsigned_integers(low))
        place = layer.first_scale + 32 * word
        store(current, 32 * word, sums * load(scales, place) + load(biases, place))


@compiled
def add_bytes(layer: Any, codes: Any, events: Any, count: int, scales: Any, biases: Any, current: Any) -> None:
    """Compute current = scale * (sum of the listed codes) + bias in signed bytes, for 64 outputs at once."""
    padded = (count + 3) // 4 * 4
    nothing = layer.kernel_height * layer.kernel_width * layer.channels * 32 * layer.words
    for k in range(count, padded):
        events[k] = nothing
    for word in range(0, layer.words, 2):
        start = layer.first_weight + 32 * word
        left, right = fill(np.int32(0)), fill(np.int32(0))
        for first in range(0, padded, MAX_BYTE_SUM):
            a, b = zero_bytes(), zero_bytes()
            for k in range(first, min(first + MAX_BYTE_SUM, padded), 4):
                for ahead in range(4):
                    row = start + np.intp(events[np.uintp(k + ahead)])
                    a = a + load(codes, row)
                    b = b + load(codes, row + 32)  # after an odd last word a sum that nothing reads
            left, right = left + signed_integers(a), right + signed_integers(b)
        place = layer.first_scale + 32 * word
        store(current, 32 * word, to_floats(left) * load(scales, place) + load(biases, place))
        if word + 1 < layer.words:
            store(current, 32 * word + 32, to_floats(right) * load(scales, place + 32) + load(biases, place + 32))


@compiled
def add_weighted(
    layer: Any,
    planes: Any,
    codes: Any,
    weights: Any,
    scales: Any,
    biases: Any,
    events: Any,
    values: Any,
    count: int,
    current: Any,
) -> None:
    """Compute current = scale * (sum of value * weight) + bias, for float inputs or float weights."""
    words = layer.words
    for word in range(words):
        total = fill(np.float32(0))
        if layer.narrow:
            for k in range(count):
                row = layer.first_weight + np.intp(events[np.uintp(k)]) + 32 * word
                total = total + fill(values[np.uintp(k)]) * to_floats(signed_integers(load(codes, row)))
        elif layer.ternary:
            for k in range(count):
                row = layer.first_weight + np.intp(events[k]) + word
                value = fill(values[k])
                zero = to_lanes(planes[np.uintp(row)])
                minus = to_lanes(planes[np.uintp(row + words)])
                total = total + select(zero, fill(np.float32(0)), select(minus, fill(-values[k]), value))
        else:
            for k in range(count):
                row = layer.first_weight + np.intp(events[k]) + 32 * word
                total = total + fill(values[k]) * load(weights, row)
        place = layer.first_scale + 32 * word
        store(current, 32 * word, total * load(scales, place) + load(biases, place))


def counted_planes(planes: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Invert the low bits of planes [inputs + 1, 2, words], which gives the bits of 1 - w; zeros in the last row."""
    return planes ^ np.array([[~np.uint32(0)], [0]], np.uint32)


@kernel
def _expand(planes: Any, codes: Any) -> None:
    inputs, _, words = planes.shape
    for row in range(inputs):
        for word in range(words):
            low, high = minus_ones(to_lanes(planes[row, 0, word])), minus_ones(to_lanes(planes[row, 1, word]))
            store(codes, 32 * (row * words + word), high + high - low)


def signed_codes(planes: NDArray[np.uint32]) -> NDArray[np.int8]:
    """Unpack planes [inputs + 1, 2, words] to codes as bytes [inputs + 1, 32 * words], with zeros in the last row."""
    codes = np.zeros((len(planes), 32 * planes.shape[2]), np.int8)
    _expand(planes[:-1], codes.reshape(-1))
    return codes
