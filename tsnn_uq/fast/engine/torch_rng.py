"""Compiled: the very numbers of torch's generator on a processor, made several times as fast and straight into bits.

Measured by the process time of the engine's whole `mc_predict` (784-500-500-500-10, S = 32, 256 images, dropout and
dropconnect): the same numbers from `numpy.random.RandomState` cost 1.37 and 1.26 times as much. Those of numba's own
`random` cost 1.10 and 1.06 times as much, and their state would be hidden in the thread. Where the numbers are not
torch's, torch itself is asked (`tsnn_uq.fast.engine.packed_masks`).

Torch draws from the Mersenne Twister MT19937 (Matsumoto and Nishimura, 1998), seeded with the lower half of the seed;
one of its uniform float32 numbers is the lower 24 bits of a draw times 2**-24. So a number is below p where those bits
are below p * 2**24, and a mask is made in integers alone. Whether the installed torch still does so, `follows_torch`
finds out.
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
def _seeded(seed: int) -> Any:
    """The state that a 32-bit seed gives."""
    state = np.empty(SIZE, np.uint32)
    state[0] = seed
    for i in range(1, SIZE):
        last = state[i - 1] ^ (state[i - 1] >> np.uint32(30))
        state[i] = np.uint32(1812433253) * last + np.uint32(i)
    return state


@inlined
def _mixed(first: Any, second: Any, third: Any) -> Any:
    both = (first & np.uint32(0x80000000)) | (second & np.uint32(0x7FFFFFFF))
    odd = np.uint32(0) - (second & np.uint32(1))  # all bits, or none
    return third ^ (both >> np.uint32(1)) ^ (odd & np.uint32(0x9908B0DF))


@compiled
def _renew(state: Any) -> None:
    """The next state; in parts, in which no word depends on one that was just written."""
    for i in range(SIZE - SHIFT):
        state[i] = _mixed(state[i], state[i + 1], state[i + SHIFT])
    for i in range(SIZE - SHIFT, SIZE - 1):
        state[i] = _mixed(state[i], state[i + 1], state[i + SHIFT - SIZE])
    state[SIZE - 1] = _mixed(state[SIZE - 1], state[0], state[SHIFT - 1])


@compiled
def _fill(state: Any, place: int, values: Any) -> int:
    """Fill `values` with the next draws, 24 bits each; returns the place in the state of the one after them."""
    done = 0
    while done < len(values):
        if place == SIZE:
            _renew(state)
            place = 0
        count = min(SIZE - place, len(values) - done)
        some, drawn = state[place : place + count], values[done : done + count]  # so that the loop becomes vectors
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
    _fill(_seeded(seed), SIZE, values)


@kernel
def _drop(seed: int, limit: Any, outputs: int, channels: int, words: Any) -> None:
    """Set the bits of words [inputs, words] whose weights are dropped; drawn are [outputs, channels, places]."""
    inputs = len(words)
    places = inputs // channels
    state, place = _seeded(seed), SIZE
    draws, bits = np.empty(inputs, np.uint32), np.empty(inputs, np.uint32)
    for word in range(words.shape[1]):
        bits[:] = 0
        for output in range(min(WORD, outputs - WORD * word)):
            place = _fill(state, place, draws)
            bit = np.uint32(np.uint32(1) << np.uint32(output))
            for i in range(inputs):
                bits[i] |= bit if draws[i] < limit else np.uint32(0)
        for channel in range(channels):
            for i in range(places):
                words[i * channels + channel, word] = bits[channel * places + i]


@kernel
def _keep(seed: int, limit: Any, channels: int, words: Any) -> None:
    """Set the bits of words [N, T, pixels, words] whose spikes stay; drawn are [T, N, channels, pixels]."""
    count, steps, pixels, each = words.shape
    state, place = _seeded(seed), SIZE
    draws = np.empty(channels * pixels, np.uint32)
    for t in range(steps):
        for n in range(count):
            place = _fill(state, place, draws)
            for word in range(each):
                first = WORD * word
                for pixel in range(pixels):
                    bits = np.uint32(0)
                    for i in range(min(WORD, channels - first)):
                        bits |= np.uint32(draws[(first + i) * pixels + pixel] >= limit) << np.uint32(i)
                    words[n, t, pixel, word] = bits


def uniform(seed: int, count: int) -> NDArray[np.float32]:
    """What ``torch.empty(count).uniform_(generator=torch.Generator().manual_seed(seed))`` gives."""
    values = np.empty(count, np.uint32)
    _draw(_lower(seed), values)
    return values * np.float32(2**-24)


@lru_cache(maxsize=1)
def follows_torch() -> bool:
    """Whether the installed torch draws what `uniform` gives, also past the first state and with a wide seed."""
    seed, count = 2**62 + 12345, 2 * SIZE + 1
    theirs = torch.empty(count).uniform_(generator=torch.Generator().manual_seed(seed))
    return bool((theirs.numpy() == uniform(seed, count)).all())


def dropped_weights(seed: int, p: float, outputs: int, channels: int, places: int) -> NDArray[np.uint32]:
    """Which weights are dropped, with a uniform number below p: words [places * channels, words], a bit an output.

    Args:
        seed: of the generator from which the network draws float32 [outputs, channels, places].
        p: probability of each weight.
        outputs: output channels.
        channels: input channels, which vary fastest in the rows returned.
        places: places of the kernel.
    """
    words = np.empty((places * channels, -(-outputs // WORD)), np.uint32)
    _drop(_lower(seed), _limit(p), outputs, channels, words)
    return words


def kept_spikes(seed: int, p: float, steps: int, count: int, channels: int, pixels: int) -> NDArray[np.uint32]:
    """Which spikes stay, with a uniform number not below p: words [N, T, pixels * words], a bit a channel.

    Args:
        seed: of the generator from which the network draws float32 [T, N, channels, pixels].
        p: probability of each spike to go.
        steps: T, or 1 for masks that are held.
        count: N.
        channels: of the map.
        pixels: of the map.
    """
    words = np.empty((count, steps, pixels, -(-channels // WORD)), np.uint32)
    _keep(_lower(seed), _limit(p), channels, words)
    return words.reshape(count, steps, -1)


def _lower(seed: int) -> int:
    return seed & 0xFFFFFFFF


def _limit(p: float) -> np.uint32:
    """The least 24 bits whose number is not below p, which torch compares as float32."""
    return np.uint32(math.ceil(float(np.float32(p)) * 2**24))
