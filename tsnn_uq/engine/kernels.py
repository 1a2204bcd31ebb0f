"""The compiled kernels: integer sums of the weights of active inputs, and the neurons, one input at a time.

**Sums.** A ternary weight w stands as e = w + 1 in two bits, so sum(w) = sum(e) - (number of active inputs). The bits
of the weights from one input to all outputs are two rows of words, and the rows of the active inputs are added for 256
outputs at once by carry-save counters (Harley and Seal): bit k of all counters lies in one row, and a full adder of five
logical operations takes in one row of weights. Nothing is done for silent inputs, there is no multiplication, and no
weight is ever unpacked.

**Neurons.** The counters' bits of 32 neurons become integers, then currents (times the scale), and threshold and reset
follow in the same pass; the spikes of 32 neurons leave as one word.

**Layout.** A map of spikes is [T, height, width, words], channel c of a pixel in bit c % 32 of word c / 32. A linear
layer is a convolution whose kernel is as large as its input, so there is one kind of layer.

All arithmetic is that of `tsnn_uq.engine.reference`, in the same order, and the tests hold it to that bit for bit.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from tsnn_uq.engine.simd import (
    bits_of,
    fill,
    floats_of,
    integers,
    lanes_of,
    load,
    load_words,
    minus_ones,
    no_bytes,
    no_words,
    select,
    store,
)

__all__ = ["pack_spikes", "propagate"]

BLOCK = 8  # rows that the counters take in together
# Of each byte: how many bits are set, and where.
COUNTS = np.array([byte.bit_count() for byte in range(256)], np.uint8)
PLACES = np.array(
    [([i for i in range(8) if byte >> i & 1] + [0] * 8)[:8] for byte in range(256)], np.uint8
).reshape(-1)

compiled = njit(nogil=True, cache=True, error_model="numpy")
inlined = njit(nogil=True, cache=True, error_model="numpy", inline="always")


@compiled
def propagate(
    layers: Any,
    planes: Any,
    weights: Any,
    scales: Any,
    biases: Any,
    analog: Any,
    spikes: Any,
    keep: Any,
    out_spikes: Any,
    outputs: Any,
    steps: int,
    first: int,
    last: int,
) -> None:
    """Run layers over all time steps and samples, for the inputs from `first` to `last`.

    Args:
        layers: table of layers, see `tsnn_uq.engine.compiled`.
        planes: bits of the ternary weights, all layers one after the other.
        weights: rows of float weights, of layers that are not ternary.
        scales: current per unit of the sum, a value an output, padded to whole words.
        biases: constant current, likewise.
        analog: input [T or 1, N, height * width * channels], or of size zero where the input is `spikes`.
        spikes: input [N, T, words].
        keep: masks on spikes [S, N, T or 1, words].
        out_spikes: where the last layer's spikes go [N, T, words]; of size zero where `outputs` are wanted.
        outputs: where the last layer's outputs go [S, T, N, C], or their mean over time, [S, 1, N, C].
        steps: T.
        first: first input.
        last: the input after the last one.
    """
    most_events, most_words, most_map = 0, 0, spikes.shape[2]
    for layer in layers:
        most_events = max(most_events, layer.kernel_height * layer.kernel_width * layer.channels * layer.pool**2)
        most_words = max(most_words, layer.words)
        most_map = max(most_map, layer.out_height * layer.out_width * layer.words)
    events = np.empty(most_events + 2 * BLOCK, np.int32)
    values = np.empty(most_events, np.float32)
    counters = np.empty(32 * (most_words + 8), np.uint32)
    current = np.empty(32 * most_words, np.float32)
    potential = np.empty(32 * most_words, np.float32)
    source = np.zeros(steps * most_map, np.uint32)
    target = np.zeros(steps * most_map, np.uint32)
    for n in range(first, last):
        for s in range(len(keep)):
            if spikes.size:
                for t in range(steps):
                    for word in range(spikes.shape[2]):
                        source[t * spikes.shape[2] + word] = spikes[n, t, word]
            for index in range(len(layers)):
                layer = layers[index]
                if layer.keep >= 0:
                    _mask(layer, keep[s, n], steps, source)
                for position in range(layer.out_height * layer.out_width):
                    potential[:] = 0
                    for t in range(steps):
                        if index == 0 and analog.size:
                            if t < len(analog):
                                count = _gather_values(layer, position, analog[t, n], events, values)
                                _weigh(layer, planes, weights, scales, biases, events, values, count, current)
                        else:
                            count = _gather_spikes(layer, position, source, t, events)
                            if layer.ternary:
                                levels = _count(layer, planes, events, count, counters)
                                _to_current(layer, counters, levels, count, scales, biases, current)
                            else:
                                values[:count] = 1
                                _weigh(layer, planes, weights, scales, biases, events, values, count, current)
                        if layer.spiking:
                            place = (t * layer.out_height * layer.out_width + position) * layer.words
                            _fire(layer, current, potential, target, place)
                        elif len(outputs):
                            _add_output(current, outputs, s, t, n, steps)
                source, target = target, source
            layer = layers[len(layers) - 1]
            if out_spikes.size:
                for t in range(steps):
                    for word in range(out_spikes.shape[2]):
                        out_spikes[n, t, word] = source[t * out_spikes.shape[2] + word]
            elif layer.spiking:
                for t in range(steps):
                    for c in range(outputs.shape[3]):
                        bit = source[t * layer.words + c // 32] >> np.uint32(c % 32) & np.uint32(1)
                        current[c] = np.float32(bit) * layer.gain
                    _add_output(current, outputs, s, t, n, steps)


@compiled
def pack_spikes(values: Any, words: Any) -> bool:
    """Pack values [T, N, pixels, channels] as words of bits [N, T, words]; False if one is neither 0 nor 1."""
    steps, inputs, pixels, channels = values.shape
    each = (channels + 31) // 32
    for t in range(steps):
        for n in range(inputs):
            for pixel in range(pixels):
                for word in range(each):
                    bits, other = np.uint32(0), False
                    for i in range(min(32, channels - 32 * word)):
                        value = values[t, n, pixel, 32 * word + i]
                        bits |= np.uint32(value != 0) << np.uint32(i)
                        other |= (value != 0) & (value != 1)
                    if other:
                        return False
                    words[n, t, pixel * each + word] = bits
    return True


@inlined
def _mask(layer: Any, keep: Any, steps: int, source: Any) -> None:
    """Silence the inputs of a layer that this sample drops, in place."""
    size = layer.height * layer.width * layer.words_in
    for t in range(steps):
        row = keep[min(t, len(keep) - 1)]
        for word in range(size):
            source[t * size + word] &= row[layer.keep + word]


@compiled
def _gather_spikes(layer: Any, position: int, source: Any, t: int, events: Any) -> int:
    """List the rows of weights that the active inputs of one output pixel have; returns how many."""
    count = 0
    pooled_height, pooled_width = layer.height // layer.pool, layer.width // layer.pool
    top = position // layer.out_width * layer.stride - layer.padding
    left = position % layer.out_width * layer.stride - layer.padding
    for i in range(max(0, -top), min(layer.kernel_height, pooled_height - top)):
        for j in range(max(0, -left), min(layer.kernel_width, pooled_width - left)):
            row = (i * layer.kernel_width + j) * layer.channels
            for word in range(layer.words_in):
                together = np.uint32(0)
                for di in range(layer.pool):
                    for dj in range(layer.pool):
                        pixel = ((top + i) * layer.pool + di) * layer.width + (left + j) * layer.pool + dj
                        bits = source[(t * layer.height * layer.width + pixel) * layer.words_in + word]
                        if layer.pool_max:
                            together |= bits
                        else:  # the mean: each spike counts
                            count = _append(bits, row + 32 * word, events, count)
                if layer.pool_max:
                    count = _append(together, row + 32 * word, events, count)
    return count


@compiled
def _append(bits: Any, row: int, events: Any, count: int) -> int:
    """Append the places of the set bits, counted from `row`, to the list."""
    if bits:
        for byte in range(4):
            value = np.intp(bits >> np.uint32(8 * byte) & np.uint32(255))
            for i in range(8):  # eight are written and as many as there are bits stay
                events[count + i] = row + 8 * byte + PLACES[8 * value + i]
            count += COUNTS[value]
    return count


@compiled
def _gather_values(layer: Any, position: int, pixels: Any, events: Any, values: Any) -> int:
    """List the rows of weights, and the values, of the inputs of one output pixel that are not zero."""
    count = 0
    top = position // layer.out_width * layer.stride - layer.padding
    left = position % layer.out_width * layer.stride - layer.padding
    for i in range(max(0, -top), min(layer.kernel_height, layer.height - top)):
        for j in range(max(0, -left), min(layer.kernel_width, layer.width - left)):
            row = (i * layer.kernel_width + j) * layer.channels
            start = ((top + i) * layer.width + left + j) * layer.channels
            for channel in range(layer.channels):
                value = pixels[start + channel]
                events[count] = row + channel
                values[count] = value
                count += value != 0
    return count


@inlined
def _full_add(a: Any, b: Any, c: Any) -> Any:
    """Sum and carry of three rows of bits; the chain through `c` is the shortest."""
    half = a ^ b
    return half ^ c, (a & b) | (half & c)


@compiled
def _count(layer: Any, planes: Any, events: Any, count: int, counters: Any) -> int:
    """Add up e = w + 1 of the rows listed, for all outputs; returns the bits of a counter.

    Bit k of the counters of 32 outputs is word ``k * words`` and on of `counters`. Vectors of eight words may run over
    the end of a row: what they find there is added to counters that nobody reads.
    """
    words = layer.words
    stride = (words + 7) // 8 * 8
    last_row = layer.kernel_height * layer.kernel_width * layer.channels
    levels = 5
    while 2 * count >> levels:
        levels += 1
    padded = (count + BLOCK - 1) // BLOCK * BLOCK
    for k in range(count, padded):
        events[k] = last_row  # zeros
    for word in range(0, words, 8):
        ones, twos, fours, eights = no_words(), no_words(), no_words(), no_words()
        for level in range(4, levels):
            store(counters, level * stride + word, no_words())
        start = layer.rows + word
        for k in range(0, padded, BLOCK):
            a = start + np.intp(events[k]) * 2 * words
            b = start + np.intp(events[k + 1]) * 2 * words
            c = start + np.intp(events[k + 2]) * 2 * words
            d = start + np.intp(events[k + 3]) * 2 * words
            ones, two_a = _full_add(load_words(planes, a), load_words(planes, b), ones)
            ones, two_b = _full_add(load_words(planes, c), load_words(planes, d), ones)
            twos, four_a = _full_add(load_words(planes, a + words), load_words(planes, b + words), twos)
            twos, four_b = _full_add(load_words(planes, c + words), load_words(planes, d + words), twos)
            twos, four_c = _full_add(two_a, two_b, twos)
            a = start + np.intp(events[k + 4]) * 2 * words
            b = start + np.intp(events[k + 5]) * 2 * words
            c = start + np.intp(events[k + 6]) * 2 * words
            d = start + np.intp(events[k + 7]) * 2 * words
            ones, two_a = _full_add(load_words(planes, a), load_words(planes, b), ones)
            ones, two_b = _full_add(load_words(planes, c), load_words(planes, d), ones)
            twos, four_d = _full_add(load_words(planes, a + words), load_words(planes, b + words), twos)
            twos, four_e = _full_add(load_words(planes, c + words), load_words(planes, d + words), twos)
            twos, four_f = _full_add(two_a, two_b, twos)
            fours, eight_a = _full_add(four_a, four_b, fours)
            fours, eight_b = _full_add(four_c, four_d, fours)
            fours, eight_c = _full_add(four_e, four_f, fours)
            eights, sixteen_a = _full_add(eight_a, eight_b, eights)
            eights, sixteen_b = eights ^ eight_c, eights & eight_c
            sixteens = load_words(counters, 4 * stride + word)
            sixteens, carry = _full_add(sixteen_a, sixteen_b, sixteens)
            store(counters, 4 * stride + word, sixteens)
            for level in range(5, levels):
                bits = load_words(counters, level * stride + word)
                store(counters, level * stride + word, bits ^ carry)
                carry = bits & carry
        store(counters, word, ones)
        store(counters, stride + word, twos)
        store(counters, 2 * stride + word, fours)
        store(counters, 3 * stride + word, eights)
    return levels


@compiled
def _to_current(
    layer: Any, counters: Any, levels: int, count: int, scales: Any, biases: Any, current: Any
) -> None:
    """Current = scale * (counter - count) + bias."""
    stride = (layer.words + 7) // 8 * 8
    for word in range(layer.words):
        low, high = no_bytes(), no_bytes()
        for level in range(min(levels, 8) - 1, -1, -1):
            low = low + low - minus_ones(lanes_of(counters[np.uintp(level * stride + word)]))
        for level in range(levels - 1, 7, -1):
            high = high + high - minus_ones(lanes_of(counters[np.uintp(level * stride + word)]))
        place = layer.scales + 32 * word
        sums = floats_of(integers(low, high), np.int32(count))
        store(current, 32 * word, sums * load(scales, place) + load(biases, place))


@compiled
def _weigh(
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
                row = layer.rows + np.intp(events[k]) * 2 * words + word
                value = fill(values[k])
                zero = lanes_of(planes[np.uintp(row)])
                plus = lanes_of(planes[np.uintp(row + words)])
                negative = fill(-values[k])
                total = total + select(plus, value, select(zero, fill(np.float32(0)), negative))
        else:
            for k in range(count):
                row = layer.rows + np.intp(events[k]) * 32 * words + 32 * word
                total = total + fill(values[k]) * load(weights, row)
        place = layer.scales + 32 * word
        store(current, 32 * word, total * load(scales, place) + load(biases, place))


@compiled
def _fire(layer: Any, current: Any, potential: Any, target: Any, place: int) -> None:
    """One step of leaky integrate-and-fire neurons (`tsnn_uq.neurons.lif_step`)."""
    decay, threshold = fill(layer.decay), fill(layer.threshold)
    for word in range(layer.words):
        charged = decay * load(potential, 32 * word) + load(current, 32 * word)
        spikes = charged >= threshold
        after = fill(np.float32(0)) if layer.hard_reset else charged - threshold
        store(potential, 32 * word, select(spikes, after, charged))
        target[np.uintp(place + word)] = bits_of(spikes)


@inlined
def _add_output(current: Any, outputs: Any, s: int, t: int, n: int, steps: int) -> None:
    """Write one step's outputs, or add it to the mean over time."""
    if outputs.shape[1] == 1:
        for c in range(outputs.shape[3]):
            outputs[s, 0, n, c] += current[c] / np.float32(steps)
    else:
        for c in range(outputs.shape[3]):
            outputs[s, t, n, c] = current[c]
