"""The compiled kernel: run all layers, time steps and samples of one input before the next input.

A linear layer is a convolution whose kernel is as large as its input, so there is one kind of layer. The arithmetic and
its order are those of `tsnn_uq.fast.engine.reference`; the tests compare the two bit for bit.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tsnn_uq.fast.engine.gather import SLACK, gather, list_spikes, list_values
from tsnn_uq.fast.engine.sums import add_bytes, add_weighted, count_bits, to_current
from tsnn_uq.fast.jit import compiled, inlined, kernel
from tsnn_uq.fast.simd import fill, load, select, store, to_bits

__all__ = ["propagate"]


@kernel
def propagate(
    layers: Any,
    planes: Any,
    codes: Any,
    weights: Any,
    scales: Any,
    biases: Any,
    analog: Any,
    spikes: Any,
    keep: Any,
    out_spikes: Any,
    outputs: Any,
    running: Any,
    state: Any,
    start: int,
    steps: int,
    first: int,
    last: int,
) -> None:
    """Run layers over time steps and samples, for the inputs listed in `running` from `first` to `last`.

    Args:
        layers: table of layers, see `tsnn_uq.fast.engine.compiled`.
        planes: bits of 1 - w for the ternary weights w of all layers, concatenated.
        codes: ternary weights of narrow layers, as bytes.
        weights: rows of float weights, for layers that are not ternary.
        scales: current per unit of the sum, one value per output, padded to whole words.
        biases: constant current, one value per output, padded to whole words.
        analog: input values [T or 1, N, height * width * channels]; empty if the input is `spikes`.
        spikes: input spikes [N, T, words]; empty if the input is `analog`.
        keep: dropout masks [S, N, T or 1, words].
        out_spikes: written with the last layer's spikes [N, T, words]; empty to write `outputs` instead.
        outputs: written with the last layer's outputs [S, steps, n, C], or with their mean over the steps [S, 1, n, C].
        running: indices [n] of the inputs to run, in the order of `outputs`.
        state: state between calls [S, N, values]: potentials of all spiking layers, then the current into the first
            layer if `analog` is constant over time. Empty if this call runs all steps.
        start: first step.
        steps: number of steps.
        first: first index into `running`.
        last: end index into `running`.
    """
    most_events, most_words, most_map, most_pixels, most_listed = 0, 0, spikes.shape[2], 0, 0
    for layer in layers:
        most_events = max(most_events, layer.kernel_height * layer.kernel_width * layer.channels * layer.pool**2)
        most_words = max(most_words, layer.words)
        most_map = max(most_map, layer.out_height * layer.out_width * layer.words)
        most_pixels = max(most_pixels, layer.height * layer.width)
        most_listed = max(most_listed, layer.height * layer.width * layer.channels)
    starts = np.empty(steps * most_pixels + 1, np.intp)
    listed = np.empty(steps * most_listed + SLACK, np.uint32)
    listed_values = np.empty(steps * layers[0].height * layers[0].width * layers[0].channels + SLACK, np.float32)
    events = np.empty(most_events + SLACK, np.uint32)
    values, ones, nothing = np.empty(len(events), np.float32), np.ones(len(events), np.float32), events[:0]
    counters = np.empty(32 * (most_words + 8), np.uint32)
    current = np.empty(32 * most_words, np.float32)
    potential = np.empty(32 * most_words, np.float32)
    source = np.zeros(steps * most_map, np.uint32)
    target = np.zeros(steps * most_map, np.uint32)
    constant = len(analog) == 1 and state.size > 0  # the first layer's current is computed at step 0 only
    for i in range(first, last):
        n = running[i]
        for s in range(len(keep)):
            if spikes.size:
                for t in range(steps):
                    for word in range(spikes.shape[2]):
                        source[t * spikes.shape[2] + word] = spikes[n, start + t, word]
            state_start = 0
            for index in range(len(layers)):
                layer = layers[index]
                if layer.first_mask >= 0:
                    _apply_masks(layer, keep, s, n, start, steps, source)
                places = layer.out_height * layer.out_width
                analog_now = index == 0 and analog.size > 0
                # An output map of one place sees each input once: lists of one step at a time stay in the cache.
                ahead = steps if places > 1 else 1
                if analog_now and not (constant and start):
                    list_values(layer, analog, n, start, steps, starts, listed, listed_values)
                for position in range(places):
                    if state.size and layer.spiking:
                        for k in range(32 * layer.words):
                            potential[k] = state[s, n, state_start + k]
                    else:
                        for word in range(layer.words):
                            store(potential, 32 * word, fill(np.float32(0)))
                    for t in range(steps):
                        if analog_now:
                            if start + t < len(analog):
                                count = gather(layer, position, starts, listed, listed_values, t, events, values)
                                add_weighted(
                                    layer, planes, codes, weights, scales, biases, events, values, count, current
                                )
                            if constant and t == 0:
                                _reuse_current(layer, position, start, current, state, s, n)
                        else:
                            if position == 0 and t % ahead == 0:
                                list_spikes(layer, source, t, ahead, starts, listed)
                            count = gather(layer, position, starts, listed, nothing, t % ahead, events, values)
                            if layer.narrow:
                                add_bytes(layer, codes, events, count, scales, biases, current)
                            elif layer.ternary:
                                levels = count_bits(layer, planes, events, count, counters)
                                to_current(layer, counters, levels, count, scales, biases, current)
                            else:
                                add_weighted(
                                    layer, planes, codes, weights, scales, biases, events, ones, count, current
                                )
                        if layer.spiking:
                            place = (t * layer.out_height * layer.out_width + position) * layer.words
                            _fire(layer, current, potential, target, place)
                        elif len(outputs):
                            _add_output(current, outputs, s, t, i, steps)
                    if state.size and layer.spiking:
                        for k in range(32 * layer.words):
                            state[s, n, state_start + k] = potential[k]
                        state_start += 32 * layer.words
                source, target = target, source
            layer = layers[len(layers) - 1]
            if out_spikes.size:
                for t in range(steps):
                    for word in range(out_spikes.shape[2]):
                        out_spikes[n, start + t, word] = source[t * out_spikes.shape[2] + word]
            elif layer.spiking:
                for t in range(steps):
                    for c in range(outputs.shape[3]):
                        bit = source[t * layer.words + c // 32] >> np.uint32(c % 32) & np.uint32(1)
                        current[c] = np.float32(bit) * layer.gain
                    _add_output(current, outputs, s, t, i, steps)


@compiled
def _reuse_current(layer: Any, position: int, start: int, current: Any, state: Any, s: int, n: int) -> None:
    """Save the current into one position of the first layer at step 0, and load it at later steps."""
    place = state.shape[2] - (layer.out_height * layer.out_width - position) * 32 * layer.words
    for k in range(32 * layer.words):
        if start == 0:
            state[s, n, place + k] = current[k]
        else:
            current[k] = state[s, n, place + k]


@compiled
def _apply_masks(layer: Any, keep: Any, s: int, n: int, start: int, steps: int, source: Any) -> None:
    """Remove the input spikes of a layer that sample `s` drops, in place."""
    size = layer.height * layer.width * layer.words_in
    for t in range(steps):
        step = min(start + t, keep.shape[2] - 1)  # no slices: threads would contend for a reference count
        for word in range(size):
            source[t * size + word] &= keep[s, n, step, layer.first_mask + word]


@compiled
def _fire(layer: Any, current: Any, potential: Any, target: Any, place: int) -> None:
    """Run one step of leaky integrate-and-fire neurons (`tsnn_uq.neurons.lif_step`)."""
    decay, threshold = fill(layer.decay), fill(layer.threshold)
    for word in range(layer.words):
        before = load(potential, 32 * word)
        charged = decay * before + load(current, 32 * word)
        if layer.delayed_reset > 0:  # the reset after a spike of the previous step
            charged = select(before >= threshold, charged - fill(layer.delayed_reset), charged)
            spikes = charged >= threshold
            store(potential, 32 * word, charged)
        else:
            spikes = charged >= threshold
            after = fill(np.float32(0)) if layer.hard_reset else charged - threshold
            store(potential, 32 * word, select(spikes, after, charged))
        target[np.uintp(place + word)] = to_bits(spikes)


@inlined
def _add_output(current: Any, outputs: Any, s: int, t: int, i: int, steps: int) -> None:
    """Write the outputs of one step, or add them to the mean over the steps."""
    if outputs.shape[1] == 1:
        for c in range(outputs.shape[3]):
            outputs[s, 0, i, c] += current[c] / np.float32(steps)
    else:
        for c in range(outputs.shape[3]):
            outputs[s, t, i, c] = current[c]
