"""Compiled: which inputs are active, and where their weights begin.

A map of spikes is [T, height, width, words], channel c of a pixel in bit c % 32 of word c / 32; lists of active inputs
are made eight at a time from a table of bytes, so that their length is all that depends on the spikes. A kernel at many
places of a map sees each pixel several times: the spikes of a pixel are then listed once, and the lists put together.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tsnn_uq.fast.jit import compiled, inlined, kernel
from tsnn_uq.fast.simd import eight_times, load, offsets, store

__all__ = ["SLACK", "gather_listed", "gather_spikes", "gather_values", "list_spikes", "pack_spikes"]

SLACK = 16  # entries behind a list that may be written over
# Of each byte: how many bits are set, and where.
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
def gather_spikes(layer: Any, position: int, source: Any, t: int, events: Any) -> int:
    """List where the weights of the active inputs of one output pixel begin; returns how many there are."""
    count, stride = 0, _stride(layer)
    top = position // layer.out_width * layer.stride_down - layer.top
    left = position % layer.out_width * layer.stride_right - layer.left
    first, last = _inside(top, layer.height // layer.pool, layer.kernel_height, layer.dilation_down)
    start, stop = _inside(left, layer.width // layer.pool, layer.kernel_width, layer.dilation_right)
    for i in range(first, last):
        y = (top + i * layer.dilation_down) * layer.pool
        for j in range(start, stop):
            x = (left + j * layer.dilation_right) * layer.pool
            row = (i * layer.kernel_width + j) * layer.channels
            count = _append_pixel(layer, y, x, source, t, row, stride, events, count)
    return count


@compiled
def list_spikes(layer: Any, source: Any, steps: int, starts: Any, listed: Any) -> None:
    """List the spikes of each pooled pixel and step once, for the many places of a kernel that see it.

    Those of pixel p at step t are entries ``starts[t * pixels + p]`` and on of `listed`; see `gather_listed`.
    """
    count, pixel, stride = 0, 0, _stride(layer)
    starts[0] = 0
    for t in range(steps):
        for y in range(layer.height // layer.pool):
            for x in range(layer.width // layer.pool):
                count = _append_pixel(layer, y * layer.pool, x * layer.pool, source, t, 0, stride, listed, count)
                pixel += 1
                starts[pixel] = count


@compiled
def gather_listed(layer: Any, position: int, starts: Any, listed: Any, t: int, events: Any) -> int:
    """What `gather_spikes` lists, from the lists of `list_spikes`."""
    count, stride = 0, _stride(layer)
    height, width = layer.height // layer.pool, layer.width // layer.pool
    top = position // layer.out_width * layer.stride_down - layer.top
    left = position % layer.out_width * layer.stride_right - layer.left
    first, last = _inside(top, height, layer.kernel_height, layer.dilation_down)
    start, stop = _inside(left, width, layer.kernel_width, layer.dilation_right)
    for i in range(first, last):
        line = (t * height + top + i * layer.dilation_down) * width + left
        for j in range(start, stop):
            pixel = np.uintp(line + j * layer.dilation_right)
            row = eight_times(np.uint32((i * layer.kernel_width + j) * layer.channels * stride))
            begin, end = starts[pixel], starts[pixel + np.uintp(1)]
            # Sixteen without a look, which is what a branch would cost; as many stay as there are.
            store(events, count, load(listed, begin) + row)
            store(events, count + 8, load(listed, begin + 8) + row)
            for k in range(begin + 16, end, 8):
                store(events, count + k - begin, load(listed, k) + row)
            count += end - begin
    return count


@inlined
def _append_pixel(
    layer: Any, y: int, x: int, source: Any, t: int, row: int, stride: int, events: Any, count: int
) -> Any:
    """Append the spikes of the pooled pixel whose square begins at `y` and `x`; channel 0 belongs to `row`."""
    for word in range(layer.words_in):
        together = np.uint32(0)
        for di in range(layer.pool):
            for dj in range(layer.pool):
                pixel = (y + di) * layer.width + x + dj
                bits = source[(t * layer.height * layer.width + pixel) * layer.words_in + word]
                if layer.pool_max:
                    together |= bits
                else:  # of a mean or a sum, where each spike counts
                    count = _append(bits, row + 32 * word, stride, events, count)
        if layer.pool_max:
            count = _append(together, row + 32 * word, stride, events, count)
    return count


@compiled
def _append(bits: Any, row: int, stride: int, events: Any, count: int) -> int:
    """Append where the rows of the set bits begin to the list; bit 0 belongs to `row`."""
    if bits:
        for byte in range(4):
            value = np.uintp(bits >> np.uint32(8 * byte) & np.uint32(255))
            first = np.uint32(row + 8 * byte)
            # Eight are written, and as many as there are bits stay.
            store(events, count, offsets(PLACES, np.intp(8 * value), first, np.uint32(stride)))
            count += COUNTS[value]
    return count


@compiled
def gather_values(layer: Any, position: int, pixels: Any, events: Any, values: Any) -> int:
    """List where the weights of the inputs of one output pixel begin that are not zero, and their values."""
    count, stride = 0, _stride(layer)
    top = position // layer.out_width * layer.stride_down - layer.top
    left = position % layer.out_width * layer.stride_right - layer.left
    first, last = _inside(top, layer.height, layer.kernel_height, layer.dilation_down)
    start, stop = _inside(left, layer.width, layer.kernel_width, layer.dilation_right)
    for i in range(first, last):
        line = (top + i * layer.dilation_down) * layer.width + left
        for j in range(start, stop):
            row = (i * layer.kernel_width + j) * layer.channels
            pixel = (line + j * layer.dilation_right) * layer.channels
            for channel in range(layer.channels):
                value = pixels[np.uintp(pixel + channel)]
                events[np.uintp(count)] = (row + channel) * stride
                values[np.uintp(count)] = value
                count += value != 0
    return count


@inlined
def _inside(start: int, size: int, kernel: int, dilation: int) -> Any:
    """The weights of a kernel, first and last + 1, that meet a map of a size where the kernel begins at `start`."""
    return (max(0, -start) + dilation - 1) // dilation, min(kernel, (size - start + dilation - 1) // dilation)


@inlined
def _stride(layer: Any) -> int:
    """Elements from the weights of one input to those of the next."""
    return (2 if layer.ternary else 32) * layer.words
