"""The compiled kernel: all layers, time steps and samples of one input after the other.

A linear layer is a convolution whose kernel is as large as its input, so there is one kind of layer. All arithmetic is
that of `tsnn_uq.fast.engine.reference`, in the same order, and the tests hold it to that bit for bit.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tsnn_uq.fast.engine.gather import SLACK, gather, list_spikes, list_values
from tsnn_uq.fast.engine.sums import add_bytes, count_bits, to_current, weigh
from tsnn_uq.fast.jit import compiled, inlined, kernel
from tsnn_uq.fast.simd import bits_of, fill, load, select, store

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
        planes: bits of the ternary weights, all layers one after the other.
        codes: ternary weights of narrow layers, as bytes.
        weights: rows of float weights, of layers that are not ternary.
        scales: current per unit of the sum, a value an output, padded to whole words.
        biases: constant current, likewise.
        analog: input [T or 1, N, height * width * channels], or of size zero where the input is `spikes`.
        spikes: input [N, T, words].
        keep: masks on spikes [S, N, T or 1, words].
        out_spikes: where the last layer's spikes go [N, T, words]; of size zero where `outputs` are wanted.
        outputs: where the last layer's outputs go [S, steps, n, C], or their mean over the steps, [S, 1, n, C]; input
            ``running[i]`` is the i-th of them.
        running: numbers of inputs [n].
        state: potentials of all spiking layers one after the other, and behind them the current into the first layer
            where `analog` is held, [S, N, values]; both are kept from the steps before `start` and for those after
            these. Of size zero where these are all steps.
        start: first step.
        steps: number of steps.
        first: first place in `running`.
        last: the place after the last one.
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
    weighed = np.empty(steps * layers[0].height * layers[0].width * layers[0].channels + SLACK, np.float32)
    events = np.empty(most_events + SLACK, np.uint32)
    values, ones, nothing = np.empty(len(events), np.float32), np.ones(len(events), np.float32), events[:0]
    counters = np.empty(32 * (most_words + 8), np.uint32)
    current = np.empty(32 * most_words, np.float32)
    potential = np.empty(32 * most_words, np.float32)
    source = np.zeros(steps * most_map, np.uint32)
    target = np.zeros(steps * most_map, np.uint32)
    held = len(analog) == 1 and state.size > 0  # the current is computed in the first step of all alone
    for i in range(first, last):
        n = running[i]
        for s in range(len(keep)):
            if spikes.size:
                for t in range(steps):
                    for word in range(spikes.shape[2]):
                        source[t * spikes.shape[2] + word] = spikes[n, start + t, word]
            kept = 0
            for index in range(len(layers)):
                layer = layers[index]
                if layer.keep >= 0:
                    _mask(layer, keep, s, n, start, steps, source)
                places = layer.out_height * layer.out_width
                analog_now = index == 0 and analog.size > 0
                if not analog_now:
                    list_spikes(layer, source, steps, starts, listed)
                elif not (held and start):
                    list_values(layer, analog, n, start, steps, starts, listed, weighed)
                for position in range(places):
                    if state.size and layer.spiking:
                        for k in range(32 * layer.words):
                            potential[k] = state[s, n, kept + k]
                    else:
                        for word in range(layer.words):
                            store(potential, 32 * word, fill(np.float32(0)))
                    for t in range(steps):
                        if analog_now:
                            if start + t < len(analog):
                                count = gather(layer, position, starts, listed, weighed, t, events, values)
                                weigh(layer, planes, codes, weights, scales, biases, events, values, count, current)
                            if held and t == 0:
                                _hold(layer, position, start, current, state, s, n)
                        else:
                            count = gather(layer, position, starts, listed, nothing, t, events, values)
                            if layer.narrow:
                                add_bytes(layer, codes, events, count, scales, biases, current)
                            elif layer.ternary:
                                levels = count_bits(layer, planes, events, count, counters)
                                to_current(layer, counters, levels, count, scales, biases, current)
                            else:
                                weigh(layer, planes, codes, weights, scales, biases, events, ones, count, current)
                        if layer.spiking:
                            place = (t * layer.out_height * layer.out_width + position) * layer.words
                            _fire(layer, current, potential, target, place)
                        elif len(outputs):
                            _add_output(current, outputs, s, t, i, steps)
                    if state.size and layer.spiking:
                        for k in range(32 * layer.words):
                            state[s, n, kept + k] = potential[k]
                        kept += 32 * layer.words
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
def _hold(layer: Any, position: int, start: int, current: Any, state: Any, s: int, n: int) -> None:
    """Keep the current into one position of the first layer in the first step, and take it back in later ones."""
    place = state.shape[2] - (layer.out_height * layer.out_width - position) * 32 * layer.words
    for k in range(32 * layer.words):
        if start == 0:
            state[s, n, place + k] = current[k]
        else:
            current[k] = state[s, n, place + k]


@compiled
def _mask(layer: Any, keep: Any, s: int, n: int, start: int, steps: int, source: Any) -> None:
    """Silence the inputs of a layer that sample `s` drops, in place."""
    size = layer.height * layer.width * layer.words_in
    for t in range(steps):
        step = min(start + t, keep.shape[2] - 1)  # no slices: threads would count references to the same array
        for word in range(size):
            source[t * size + word] &= keep[s, n, step, layer.keep + word]


@compiled
def _fire(layer: Any, current: Any, potential: Any, target: Any, place: int) -> None:
    """One step of leaky integrate-and-fire neurons (`tsnn_uq.neurons.lif_step`)."""
    decay, threshold = fill(layer.decay), fill(layer.threshold)
    for word in range(layer.words):
        before = load(potential, 32 * word)
        charged = decay * before + load(current, 32 * word)
        if layer.late > 0:  # the reset that the last step's spike is due
            charged = select(before >= threshold, charged - fill(layer.late), charged)
            spikes = charged >= threshold
            store(potential, 32 * word, charged)
        else:
            spikes = charged >= threshold
            after = fill(np.float32(0)) if layer.hard_reset else charged - threshold
            store(potential, 32 * word, select(spikes, after, charged))
        target[np.uintp(place + word)] = bits_of(spikes)


@inlined
def _add_output(current: Any, outputs: Any, s: int, t: int, i: int, steps: int) -> None:
    """Write one step's outputs, or add it to the mean over the steps."""
    if outputs.shape[1] == 1:
        for c in range(outputs.shape[3]):
            outputs[s, 0, i, c] += current[c] / np.float32(steps)
    else:
        for c in range(outputs.shape[3]):
            outputs[s, t, i, c] = current[c]
