"""Compiled: a neuron's current, the sum of the weights of its active inputs times a scale.

A ternary weight is w = low - 2 high in two bits, so 1 - w = (1 - low) + 2 high is never negative, and
sum(w) = (number of active inputs) - sum(1 - w). The bits of the weights from one input to all outputs are two rows of
words, and the rows of the active inputs are added for 256 outputs at once by carry-save counters (Harley and Seal):
bit k of all counters is in one row, and a full adder of five logical operations takes in one row of weights. Nothing is
done for silent inputs, there is no multiplication, and no weight is ever unpacked.

Layers of up to 128 outputs are added up faster from their codes as signed bytes, 32 outputs in a vector.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tsnn_uq.fast.jit import compiled, inlined, kernel
from tsnn_uq.fast.simd import (
    fill,
    floats_of,
    integers,
    lanes_of,
    load,
    minus_ones,
    no_bytes,
    no_words,
    select,
    signed,
    store,
    widened,
)

__all__ = ["NARROW", "add_bytes", "count_bits", "signed_codes", "to_current", "weigh"]

BLOCK = 8  # rows that the counters take in together
NARROW = 4  # words of the widest layer that is added up in bytes
MOST_ADDED = 124  # codes whose sum fits a signed byte, in whole turns of the loop


@inlined
def _full_add(a: Any, b: Any, c: Any) -> Any:
    """Sum and carry of three rows of bits; the chain through `c` is the shortest."""
    half = a ^ b
    return half ^ c, (a & b) | (half & c)


@compiled
def count_bits(layer: Any, planes: Any, events: Any, count: int, counters: Any) -> int:
    """Add up 1 - w of the rows listed, for all outputs; returns the bits of a counter.

    Bit k of the counters of 32 outputs is word ``k * words`` and on of `counters`. Vectors of eight words may run over
    the end of a row: what they find there is added to counters that nobody reads.
    """
    words = layer.words
    stride = (words + 7) // 8 * 8
    last_row = layer.kernel_height * layer.kernel_width * layer.channels
    levels = 8  # the lower byte of a counter, of which all bits are read
    while 2 * count >> levels:
        levels += 1
    padded = (count + BLOCK - 1) // BLOCK * BLOCK
    for k in range(count, padded):
        events[k] = last_row * 2 * words  # counts nothing
    for word in range(0, words, 8):
        ones, twos, fours, eights = no_words(), no_words(), no_words(), no_words()
        for level in range(4, levels):
            store(counters, level * stride + word, no_words())
        start = layer.rows + word
        for k in range(0, padded, BLOCK):
            a = start + np.intp(events[np.uintp(k)])
            b = start + np.intp(events[np.uintp(k + 1)])
            c = start + np.intp(events[np.uintp(k + 2)])
            d = start + np.intp(events[np.uintp(k + 3)])
            ones, two_a = _full_add(~load(planes, a), ~load(planes, b), ones)
            ones, two_b = _full_add(~load(planes, c), ~load(planes, d), ones)
            twos, four_a = _full_add(load(planes, a + words), load(planes, b + words), twos)
            twos, four_b = _full_add(load(planes, c + words), load(planes, d + words), twos)
            twos, four_c = _full_add(two_a, two_b, twos)
            a = start + np.intp(events[np.uintp(k + 4)])
            b = start + np.intp(events[np.uintp(k + 5)])
            c = start + np.intp(events[np.uintp(k + 6)])
            d = start + np.intp(events[np.uintp(k + 7)])
            ones, two_a = _full_add(~load(planes, a), ~load(planes, b), ones)
            ones, two_b = _full_add(~load(planes, c), ~load(planes, d), ones)
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
    """Current = scale * (count - counter) + bias."""
    stride = (layer.words + 7) // 8 * 8
    for word in range(layer.words):
        low, high = no_bytes(), no_bytes()
        for level in range(7, -1, -1):
            low = low + low - minus_ones(lanes_of(counters[np.uintp(level * stride + word)]))
        if levels > 8:
            for level in range(levels - 1, 7, -1):
                high = high + high - minus_ones(lanes_of(counters[np.uintp(level * stride + word)]))
            sums = floats_of(fill(np.int32(count)) - integers(low, high))
        else:
            sums = floats_of(fill(np.int32(count)) - widened(low))
        place = layer.scales + 32 * word
        store(current, 32 * word, sums * load(scales, place) + load(biases, place))


@compiled
def add_bytes(layer: Any, codes: Any, events: Any, count: int, scales: Any, biases: Any, current: Any) -> None:
    """Current = scale * (sum of the codes listed) + bias, 64 outputs at once, added up in signed bytes."""
    padded = (count + 3) // 4 * 4
    nothing = layer.kernel_height * layer.kernel_width * layer.channels * 32 * layer.words
    for k in range(count, padded):
        events[k] = nothing
    for word in range(0, layer.words, 2):
        start = layer.rows + 32 * word
        left, right = fill(np.int32(0)), fill(np.int32(0))
        for first in range(0, padded, MOST_ADDED):
            a, b = no_bytes(), no_bytes()
            for k in range(first, min(first + MOST_ADDED, padded), 4):
                for ahead in range(4):
                    row = start + np.intp(events[np.uintp(k + ahead)])
                    a = a + load(codes, row)
                    b = b + load(codes, row + 32)  # of a last word alone, the next row, which nobody reads
            left, right = left + signed(a), right + signed(b)
        place = layer.scales + 32 * word
        store(current, 32 * word, floats_of(left) * load(scales, place) + load(biases, place))
        if word + 1 < layer.words:
            store(current, 32 * word + 32, floats_of(right) * load(scales, place + 32) + load(biases, place + 32))


@compiled
def weigh(
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
    """Current = scale * (sum of value * weight) + bias, for inputs or weights that are floats."""
    words = layer.words
    for word in range(words):
        total = fill(np.float32(0))
        if layer.narrow:
            for k in range(count):
                row = layer.rows + np.intp(events[np.uintp(k)]) + 32 * word
                total = total + fill(values[np.uintp(k)]) * floats_of(signed(load(codes, row)))
        elif layer.ternary:
            for k in range(count):
                row = layer.rows + np.intp(events[k]) + word
                value = fill(values[k])
                there = lanes_of(planes[np.uintp(row)])
                minus = lanes_of(planes[np.uintp(row + words)])
                there_value = select(minus, fill(-values[k]), value)
                total = total + select(there, there_value, fill(np.float32(0)))
        else:
            for k in range(count):
                row = layer.rows + np.intp(events[k]) + 32 * word
                total = total + fill(values[k]) * load(weights, row)
        place = layer.scales + 32 * word
        store(current, 32 * word, total * load(scales, place) + load(biases, place))


@kernel
def _expand(planes: Any, codes: Any) -> None:
    inputs, _, words = planes.shape
    for row in range(inputs):
        for word in range(words):
            low, high = minus_ones(lanes_of(planes[row, 0, word])), minus_ones(lanes_of(planes[row, 1, word]))
            store(codes, 32 * (row * words + word), high + high - low)


def signed_codes(planes: NDArray[np.uint32]) -> NDArray[np.int8]:
    """Ternary weights as bytes [inputs + 1, 32 * words], zeros in the last row, from planes [inputs + 1, 2, words]."""
    codes = np.zeros((len(planes), 32 * planes.shape[2]), np.int8)
    _expand(planes[:-1], codes.reshape(-1))
    return codes
