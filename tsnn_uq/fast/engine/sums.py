"""Compiled: a neuron's current, the sum of the weights of its active inputs times a scale.

A ternary weight is w = low - 2 high in two bits, so 1 - w = (1 - low) + 2 high is never negative, and
sum(w) = (number of active inputs) - sum(1 - w). The bits of the weights from one input to all outputs are two rows of
words, and the rows of the active inputs are added for 256 outputs at once by carry-save counters (Harley and Seal):
bit k of all counters is in one row, and a full adder of five logical operations takes in one row of weights. Nothing is
done for silent inputs, there is no multiplication, and no weight is ever unpacked.

Up to 128 outputs have both rows in one vector, up to 64 those of two inputs: low and high bits are then counted side by
side, and sum(w) = sum(low) - 2 sum(high). A linear layer of up to 32 outputs counts the bits that spikes and weights
have in common instead.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tsnn_uq.fast.jit import compiled, inlined
from tsnn_uq.fast.simd import (
    bit_count,
    fill,
    floats_of,
    integers,
    lanes_of,
    load,
    load_two,
    minus_ones,
    no_bytes,
    no_words,
    select,
    store,
    widened,
)

__all__ = ["MOST_NARROW", "NARROW", "count_bits", "count_narrow", "match", "narrow_to_current", "to_current", "weigh"]

BLOCK = 8  # rows that the counters take in together
NARROW = 4  # words of a layer both of whose rows are in one vector
MOST_NARROW = 2**13 - 2 * BLOCK  # inputs of such a layer, whose differences then fit in two bytes


@compiled
def match(layer: Any, planes: Any, source: Any, t: int, scales: Any, biases: Any, current: Any) -> None:
    """Current = scale * (spikes at low - 2 * spikes at high) + bias, by the bits that spikes and weights share."""
    size = layer.height * layer.width * layer.words_in
    current[:] = 0
    for output in range(layer.outputs):
        low = layer.rows + 2 * output * size
        total = np.int32(0)
        for word in range(size):
            spikes = source[np.uintp(t * size + word)]
            total += np.int32(bit_count(spikes & planes[np.uintp(low + word)]))
            total -= np.int32(2) * np.int32(bit_count(spikes & planes[np.uintp(low + size + word)]))
        place = layer.scales + output
        current[output] = np.float32(total) * scales[place] + biases[place]


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
            sums = floats_of(np.int32(count), integers(low, high))
        else:
            sums = floats_of(np.int32(count), widened(low))
        place = layer.scales + 32 * word
        store(current, 32 * word, sums * load(scales, place) + load(biases, place))


@compiled
def count_narrow(layer: Any, planes: Any, events: Any, count: int, counters: Any) -> int:
    """Add up both bits of the rows listed, for at most 128 outputs; returns the bits of a counter.

    Bit k of all counters is the vector from word 8 k of `counters` on: low bits, high bits, and what nobody reads. With
    at most 64 outputs its second half is a second set of counters, which take every other input.
    """
    two = 2 * layer.words <= NARROW
    block = 2 * BLOCK if two else BLOCK
    padded = (count + block - 1) // block * block
    last_row = layer.kernel_height * layer.kernel_width * layer.channels
    for k in range(count, padded):
        events[k] = last_row * 2 * layer.words  # counts as weights of +1
    levels = 4
    while padded >> levels:
        levels += 1
    ones, twos, fours, eights = no_words(), no_words(), no_words(), no_words()
    for level in range(4, levels):
        store(counters, 8 * level, no_words())
    start = layer.rows
    for k in range(0, padded, block):
        if two:
            a, b = _two_rows(planes, start, events, k), _two_rows(planes, start, events, k + 2)
            c, d = _two_rows(planes, start, events, k + 4), _two_rows(planes, start, events, k + 6)
        else:
            a, b = _row(planes, start, events, k), _row(planes, start, events, k + 1)
            c, d = _row(planes, start, events, k + 2), _row(planes, start, events, k + 3)
        ones, two_a = _full_add(a, b, ones)
        ones, two_b = _full_add(c, d, ones)
        twos, four_a = _full_add(two_a, two_b, twos)
        if two:
            a, b = _two_rows(planes, start, events, k + 8), _two_rows(planes, start, events, k + 10)
            c, d = _two_rows(planes, start, events, k + 12), _two_rows(planes, start, events, k + 14)
        else:
            a, b = _row(planes, start, events, k + 4), _row(planes, start, events, k + 5)
            c, d = _row(planes, start, events, k + 6), _row(planes, start, events, k + 7)
        ones, two_a = _full_add(a, b, ones)
        ones, two_b = _full_add(c, d, ones)
        twos, four_b = _full_add(two_a, two_b, twos)
        fours, carry = _full_add(four_a, four_b, fours)
        eights, carry = eights ^ carry, eights & carry
        for level in range(4, levels):
            bits = load(counters, 8 * level)
            store(counters, 8 * level, bits ^ carry)
            carry = bits & carry
    store(counters, 0, ones)
    store(counters, 8, twos)
    store(counters, 16, fours)
    store(counters, 24, eights)
    return levels


@inlined
def _row(planes: Any, start: int, events: Any, k: int) -> Any:
    return load(planes, start + np.intp(events[np.uintp(k)]))


@inlined
def _two_rows(planes: Any, start: int, events: Any, k: int) -> Any:
    return load_two(planes, start + np.intp(events[np.uintp(k)]), start + np.intp(events[np.uintp(k + 1)]))


@compiled
def narrow_to_current(
    layer: Any, counters: Any, levels: int, count: int, scales: Any, biases: Any, current: Any
) -> None:
    """Current = scale * (low counter - 2 * high counter) + bias; the counters are lost.

    The difference is taken bit by bit for all outputs at once, as 2 high + (2 << levels) - 1 - low, which is positive.
    """
    words = layer.words
    block = BLOCK
    if 2 * words <= NARROW:
        block = 2 * BLOCK
        carry = no_words()
        for level in range(levels):  # both halves
            other = load_two(counters, 8 * level + NARROW, 8 * level)
            total, carry = _full_add(load(counters, 8 * level), other, carry)
            store(counters, 8 * level, total)
        store(counters, 8 * levels, carry)
        levels += 1
    carry, high = no_words(), no_words()
    for level in range(levels + 1):
        low = load(counters, 8 * level) if level < levels else no_words()
        total, carry = _full_add(~low, high, carry)
        high = load(counters, 8 * level + words)
        store(counters, 8 * level, total)
    store(counters, 8 * (levels + 1), carry)
    extra = (count + block - 1) // block * block - count
    whole = np.int32((2 << levels) - 1 - extra)
    for word in range(words):
        low, high = no_bytes(), no_bytes()
        for level in range(min(levels + 1, 7), -1, -1):
            low = low + low - minus_ones(lanes_of(counters[np.uintp(8 * level + word)]))
        place = layer.scales + 32 * word
        if levels > 6:
            for level in range(levels + 1, 7, -1):
                high = high + high - minus_ones(lanes_of(counters[np.uintp(8 * level + word)]))
            sums = floats_of(whole, integers(low, high))
        else:
            sums = floats_of(whole, widened(low))
        store(current, 32 * word, sums * load(scales, place) + load(biases, place))


@compiled
def weigh(
    layer: Any,
    planes: Any,
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
        if layer.ternary:
            for k in range(count):
                row = layer.rows + np.intp(events[k]) + word
                value = fill(values[k])
                there = lanes_of(planes[np.uintp(row)])
                minus = lanes_of(planes[np.uintp(row + words)])
                signed = select(minus, fill(-values[k]), value)
                total = total + select(there, signed, fill(np.float32(0)))
        else:
            for k in range(count):
                row = layer.rows + np.intp(events[k]) + 32 * word
                total = total + fill(values[k]) * load(weights, row)
        place = layer.scales + 32 * word
        store(current, 32 * word, total * load(scales, place) + load(biases, place))
