"""Compiled: list the active inputs of each output by the places where their weights begin.

A map of spikes is [T, height, width, words], with channel c of a pixel in bit c % 32 of word c / 32. Lists are extended
eight bits at a time by a table of all bytes, so there is no branch on a single spike. A convolution reads each pixel
several times, so the active inputs of each pixel are listed once, and those lists are concatenated.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tsnn_uq.fast.jit import compiled, inlined, kernel
from tsnn_uq.fast.simd import fill_words, load, row_offsets, store

__all__ = ["SLACK", "gather", "list_spikes", "list_values", "pack_spikes"]

SLACK = 32  # entries after the end of a list that vectors may overwrite
# For each byte: the number of set bits, and their positions.
COUNTS = np.array([byte.bit_count() for byte in range(256)], np.uint8)
PLACES = np.array([([i for i in range(8) if byte >> i & 1] + [0] * 8)[:8] for byte in range(256)], np.uint8).reshape(-1)


@kernel
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


@compiled
def list_spikes(layer: Any, source: Any, start: int, steps: int, starts: Any, listed: Any) -> None:
    """List the spikes of each pooled pixel and step from `start` on, for `gather`.

    The list of pixel p at step ``start + t`` begins at entry ``starts[t * pixels + p]`` of `listed`. An entry is the
    place where the weights of input ``column * channels + channel`` begin.
    """
    count, pixel, stride = 0, 0, _stride(layer)
    starts[0] = 0
    for t in range(start, start + steps):
        for y in range(layer.height // layer.pool):
            for x in range(layer.width // layer.pool):
                count = _append_pixel(layer, y, x, source, t, stride, listed, count)
                pixel += 1
                starts[pixel] = count


@compiled
def list_values(
    layer: Any, analog: Any, n: int, start: int, steps: int, starts: Any, listed: Any, listed_values: Any
) -> None:
    """List the nonzero inputs of each pixel and step as `list_spikes` does, with their values in `listed_values`."""
    count, pixel, stride = 0, 0, _stride(layer)
    starts[0] = 0
    for t in range(start, min(start + steps, len(analog))):
        for y in range(layer.height):
            for x in range(layer.width):
                for channel in range(layer.channels):
                    value = analog[t, n, (y * layer.width + x) * layer.channels + channel]
                    listed[np.uintp(count)] = (x * layer.channels + channel) * stride
                    listed_values[np.uintp(count)] = value
                    count += value != 0
                pixel += 1
                starts[pixel] = count


@compiled
def gather(
    layer: Any, position: int, starts: Any, listed: Any, listed_values: Any, t: int, events: Any, values: Any
) -> int:
    """List where the weights of the active inputs of one output begin, and their values; return the number of them.

    Neighbouring pixels have neighbouring lists and weights, so a row of an undilated kernel is copied in one piece.
    """
    count, stride = 0, _stride(layer)
    height, width = layer.height // layer.pool, layer.width // layer.pool
    top = position // layer.out_width * layer.stride_down - layer.top
    left = position % layer.out_width * layer.stride_right - layer.left
    first, last = _inside(top, height, layer.kernel_height, layer.dilation_down)
    start, stop = _inside(left, width, layer.kernel_width, layer.dilation_right)
    together = max(1, stop - start) if layer.dilation_right == 1 else 1
    for i in range(first, last):
        line = (t * height + top + i * layer.dilation_down) * width
        for j in range(start, stop, together):
            x = left + j * layer.dilation_right
            shift = (i * layer.kernel_width + j - x) * layer.channels * stride
            begin, end = starts[np.uintp(line + x)], starts[np.uintp(line + x + together)]
            row = fill_words(np.uint32(shift))  # a negative shift wraps modulo 2**32, and so does the sum
            for k in range(begin, end, 8):
                store(events, count + k - begin, load(listed, k) + row)
            if listed_values.size:
                for k in range(begin, end, 32):
                    store(values, count + k - begin, load(listed_values, k))
            count += end - begin
    return count


@inlined
def _append_pixel(layer: Any, y: int, x: int, source: Any, t: int, stride: int, events: Any, count: int) -> Any:
    """Append the spikes of the pooled pixel (y, x) to the list."""
    row = x * layer.channels
    for word in range(layer.words_in):
        together = np.uint32(0)
        for di in range(layer.pool):
            for dj in range(layer.pool):
                pixel = (y * layer.pool + di) * layer.width + x * layer.pool + dj
                bits = source[(t * layer.height * layer.width + pixel) * layer.words_in + word]
                if layer.pool_max:
                    together |= bits
                else:  # mean or sum pooling counts each spike
                    count = _append(bits, row + 32 * word, stride, events, count)
        if layer.pool_max:
            count = _append(together, row + 32 * word, stride, events, count)
    return count


@compiled
def _append(bits: Any, row: int, stride: int, events: Any, count: int) -> int:
    """Append the places where the weights of the set bits begin; bit 0 belongs to input `row`."""
    if bits:
        for byte in range(4):
            value = np.uintp(bits >> np.uint32(8 * byte) & np.uint32(255))
            first = np.uint32(row + 8 * byte)
            # Eight entries are written; those after the set bits are overwritten later.
            store(events, count, row_offsets(PLACES, np.intp(8 * value), first, np.uint32(stride)))
            count += COUNTS[value]
    return count


@inlined
def _inside(start: int, size: int, kernel: int, dilation: int) -> Any:
    """Range of kernel indices inside the map, for a kernel that begins at `start` along an axis of `size`."""
    return (max(0, -start) + dilation - 1) // dilation, min(kernel, (size - start + dilation - 1) // dilation)


@inlined
def _stride(layer: Any) -> int:
    """Distance in elements between the weights of two consecutive inputs."""
    return (32 if layer.narrow or not layer.ternary else 2) * layer.words
