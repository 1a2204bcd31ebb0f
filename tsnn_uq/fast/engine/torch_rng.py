"""Compiled: reproduce the random numbers of torch's CPU generator several times as fast, and write masks as bits.

Measured by the process time of the engine's `mc_predict` (784-500-500-500-10, S = 32, 256 images, with dropout and with
dropconnect): the same numbers from `numpy.random.RandomState` take 1.37 and 1.26 times as long. Those of numba's own
`random` take 1.10 and 1.06 times as long, and their state would be hidden in the thread. If `follows_torch` finds that
the installed torch draws other numbers, `tsnn_uq.fast.engine.packed_masks` uses torch itself.

Torch uses the Mersenne Twister MT19937 (Matsumoto and Nishimura, 1998), seeded with the lower half of the seed. A
uniform float32 number is the lower 24 bits of a draw times 2**-24. So the number is below p if those bits are below
p * 2**24, and masks are computed in integers alone.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tsnn_uq.fast.engine.layers import WORD
from tsnn_uq.fast.jit import compiled, inlined, kernel

__all__ = ["dropped_weights", "follows_torch", "kept_spikes", "uniform"]

SIZE, SHIFT = 624, 397  # words of the state, and how far apart those are that are mixed


@compiled
def _seeded_state(seed: int) -> Any:
    """Create the state for a 32-bit seed."""
    state = np.empty(SIZE, np.uint32)
    state[0] = seed
    for i in range(1, SIZE):
        last = state[i - 1] ^ (state[i - 1] >> np.uint32(30))
        state[i] = np.uint32(1812433253) * last + np.uint32(i)
    return state


@inlined
def _twist(first: Any, second: Any, third: Any) -> Any:
    both = (first & np.uint32(0x80000000)) | (second & np.uint32(0x7FFFFFFF))
    odd = np.uint32(0) - (second & np.uint32(1))  # all bits set, or none
    return third ^ (both >> np.uint32(1)) ^ (odd & np.uint32(0x9908B0DF))


@compiled
def _next_state(state: Any) -> None:
    """Compute the next state, in loops that LLVM can vectorize: no word depends on one written just before."""
    for i in range(SIZE - SHIFT):
        state[i] = _twist(state[i], state[i + 1], state[i + SHIFT])
    for i in range(SIZE - SHIFT, SIZE - 1):
        state[i] = _twist(state[i], state[i + 1], state[i + SHIFT - SIZE])
    state[SIZE - 1] = _twist(state[SIZE - 1], state[0], state[SHIFT - 1])


@compiled
def _draw_into(state: Any, place: int, values: Any) -> int:
    """Fill `values` with the next draws of 24 bits each; return the place in the state of the draw after them."""
    done = 0
    while done < len(values):
        if place == SIZE:
            _next_state(state)
            place = 0
        count = min(SIZE - place, len(values) - done)
        some, drawn = state[place : place + count], values[done : done + count]  # lets LLVM vectorize the loop
        for i in range(count):
            draw = some[i]
            draw ^= draw >> np.uint32(11)
            draw ^= (draw << np.uint32(7)) & np.uint32(0x9D2C5680)
            draw ^= (draw << np.uint32(15)) & np.uint32(0xEFC60000)
            drawn[i] = (draw ^ (draw >> np.uint32(18))) & np.uint32(0xFFFFFF)
        done += count
        place += count
    return place


@kernel
def _draw(seed: int, values: Any) -> None:
    _draw_into(_seeded_state(seed), SIZE, values)


@kernel
def _drop(seed: int, limit: Any, outputs: int, channels: int, words: Any) -> None:
    """Set the bits of dropped weights in words [inputs, words], with draws in the order [outputs, channels, places]."""
    inputs = len(words)
    places = inputs // channels
    state, place = _seeded_state(seed), SIZE
    draws, bits = np.empty(inputs, np.uint32), np.empty(inputs, np.uint32)
    for word in range(words.shape[1]):
        bits[:] = 0
        for output in range(min(WORD, outputs - WORD * word)):
            place = _draw_into(state, place, draws)
            bit = np.uint32(np.uint32(1) << np.uint32(output))
            for i in range(inputs):
                bits[i] |= bit if draws[i] < limit else np.uint32(0)
        for channel in range(channels):
            for i in range(places):
                words[i * channels + channel, word] = bits[channel * places + i]


@kernel
def _keep(seed: int, limit: Any, channels: int, words: Any) -> None:
    """Set the bits of kept spikes in words [N, T, pixels, words], with draws in the order [T, N, channels, pixels]."""
    count, steps, pixels, each = words.shape
    state, place = _seeded_state(seed), SIZE
    draws = np.empty(channels * pixels, np.uint32)
    for t in range(steps):
        for n in range(count):
            place = _draw_into(state, place, draws)
            for word in range(each):
                first = WORD * word
                for pixel in range(pixels):
                    bits = np.uint32(0)
                    for i in range(min(WORD, channels - first)):
                        bits |= np.uint32(draws[(first + i) * pixels + pixel] >= limit) << np.uint32(i)
                    words[n, t, pixel, word] = bits


def uniform(seed: int, count: int) -> NDArray[np.float32]:
    """The numbers of ``torch.empty(count).uniform_(generator=torch.Generator().manual_seed(seed))``."""
    values = np.empty(count, np.uint32)
    _draw(_low_32_bits(seed), values)
    return values * np.float32(2**-24)


@lru_cache(maxsize=1)
def follows_torch() -> bool:
    """Whether the installed torch draws the numbers of `uniform`, also past the first state and for a 64-bit seed."""
    seed, count = 2**62 + 12345, 2 * SIZE + 1
    theirs = torch.empty(count).uniform_(generator=torch.Generator().manual_seed(seed))
    return bool((theirs.numpy() == uniform(seed, count)).all())


def dropped_weights(seed: int, p: float, outputs: int, channels: int, places: int) -> NDArray[np.uint32]:
    """Draw which weights are dropped: words [places * channels, words] with one bit per output.

    Args:
        seed: seed of the generator from which the network draws float32 [outputs, channels, places].
        p: probability to drop a weight.
        outputs: number of output channels.
        channels: number of input channels, the faster index of the rows returned.
        places: number of places of the kernel.
    """
    words = np.empty((places * channels, -(-outputs // WORD)), np.uint32)
    _drop(_low_32_bits(seed), _draw_limit(p), outputs, channels, words)
    return words


def kept_spikes(seed: int, p: float, steps: int, count: int, channels: int, pixels: int) -> NDArray[np.uint32]:
    """Draw which spikes are kept: words [N, T, pixels * words] with one bit per channel.

    Args:
        seed: seed of the generator from which the network draws float32 [T, N, channels, pixels].
        p: probability to drop a spike.
        steps: number of time steps T, or 1 for masks that are constant over time.
        count: number of inputs, N.
        channels: channels of the map.
        pixels: pixels of the map.
    """
    words = np.empty((count, steps, pixels, -(-channels // WORD)), np.uint32)
    _keep(_low_32_bits(seed), _draw_limit(p), channels, words)
    return words.reshape(count, steps, -1)


def _low_32_bits(seed: int) -> int:
    return seed & 0xFFFFFFFF


def _draw_limit(p: float) -> np.uint32:
    """The smallest 24-bit draw whose number is not below p, which torch compares as float32."""
    return np.uint32(math.ceil(float(np.float32(p)) * 2**24))
