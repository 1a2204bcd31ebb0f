"""Run layers with the compiled kernels: layers as one table, spikes as words of bits, inputs divided among threads."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tsnn_uq.fast.engine import gather, kernels
from tsnn_uq.fast.engine.layers import WORD, Layer, vote
from tsnn_uq.fast.engine.packed_masks import PackedDraw
from tsnn_uq.fast.engine.sums import NARROW, counted_planes, signed_codes
from tsnn_uq.fast.threads import parallel_ranges
from tsnn_uq.neurons import LIFParameters

__all__ = ["LAYER", "Compiled"]

LAYER = np.dtype(
    [
        *((name, np.int64) for name in ("channels", "height", "width", "words_in", "kernel_height", "kernel_width")),
        *((name, np.int64) for name in ("stride_down", "stride_right", "top", "left", "dilation_down")),
        *((name, np.int64) for name in ("dilation_right", "pool", "pool_max", "out_height", "out_width", "words")),
        *((name, np.int64) for name in ("outputs", "ternary", "narrow", "first_weight", "first_scale", "first_mask")),
        *((name, np.int64) for name in ("spiking", "hard_reset")),
        *((name, np.float32) for name in ("decay", "threshold", "gain", "delayed_reset")),
    ]
)
"""A row of the kernels' table of layers: sizes, first places of weights, scales and masks, and the neuron."""

Words = NDArray[np.uint32]
Floats = NDArray[np.float32]
NO_WORDS = np.zeros((0, 0, 0), np.uint32)
NO_FLOATS = np.zeros((0, 0, 0), np.float32)
NO_CODES = np.zeros(0, np.int8)
NO_MASKS = np.zeros((1, 1, 1, 0), np.uint32)  # one sample without any
NO_OUTPUTS = np.zeros((0, 0, 0, 0), np.float32)
NO_STATE = np.zeros((1, 0, 0), np.float32)  # of all steps at once, from rest


class Compiled:
    """Run layers with the kernels on as many threads as torch may use. The methods are those of `Reference`."""

    draws = PackedDraw

    def __init__(self, layers: Sequence[Layer]) -> None:
        self.layers = tuple(layers)
        self.table = np.zeros(len(layers), LAYER)
        self.mask_words = 0
        rows: list[list[Any]] = [[NO_WORDS.ravel()], [NO_CODES], [NO_FLOATS.ravel()]]  # planes, codes, weights
        scales: list[Floats] = []
        biases: list[Floats] = []
        for row, layer in zip(self.table, layers, strict=True):
            _fill_row(row, layer)
            row["first_scale"] = sum(one.size for one in scales)
            row["first_mask"] = -1 if layer.dropout is None else self.mask_words
            if layer.dropout is not None:
                self.mask_words += int(row["height"] * row["width"] * row["words_in"])
            before = rows[_weight_array(row)]
            row["first_weight"] = sum(one.size for one in before)
            before.append(_weight_values(row, layer))
            scales.append(layer.scale.numpy())
            biases.append(layer.bias.numpy())
        for part in rows[:2]:  # vectors may read past the end of the last row
            part.append(np.zeros(WORD, part[0].dtype))
        self.unmasked = self.table.copy()
        self.unmasked["first_mask"] = -1
        self.constants = tuple(np.concatenate(values) for values in (*rows, scales, biases))

    def with_weights(self, layers: Sequence[Layer]) -> Compiled:
        """A copy for layers that differ only in their weights; only the weights are copied."""
        other = copy.copy(self)
        planes, codes, weights, *rest = self.constants
        other.layers, other.constants = tuple(layers), (planes.copy(), codes.copy(), weights.copy(), *rest)
        for row, before, after in zip(self.table, self.layers, layers, strict=True):
            if after is not before:
                rows = _weight_values(row, after)
                other.constants[_weight_array(row)][row["first_weight"] : row["first_weight"] + rows.size] = rows
        return other

    def masks(self, draw: PackedDraw, sample: int) -> Words:
        """Dropout masks of one sample as words [N, T or 1, words]."""
        packed = draw.words(self.layers, sample)
        if not packed:
            return np.zeros((1, 1, 0), np.uint32)
        steps = max(len(words[0]) for words in packed)  # T if any mask changes over time; the others are repeated
        return np.concatenate([np.broadcast_to(w, (len(w), steps, w.shape[2])) for w in packed], axis=2)

    def sample_bytes(self, count: int, steps: int, mean: bool) -> int:
        """Bytes that `outputs` needs for each further sample of `count` inputs."""
        per_step = any(layer.dropout and layer.dropout.per_step for layer in self.layers)
        masks = self.mask_words * (steps if per_step else 1)
        return 4 * count * (masks + self.layers[-1].outputs * (1 if mean else steps))

    def spikes(self, inputs: Tensor, steps: int) -> Words:
        """Compute the spikes of the last layer as words [N, T, words]."""
        height, width = self.layers[-1].window.out_size
        out = np.empty((inputs.shape[1], steps, height * width * self.layers[-1].words), np.uint32)
        self._propagate(inputs, steps, None, out, NO_OUTPUTS)
        return out

    def outputs(self, inputs: Tensor | Words, steps: int, masks: Sequence[Words] = (), mean: bool = False) -> Tensor:
        """Compute the outputs [S, T, N, C], or their mean over time [S, 1, N, C]; see `Reference.outputs`."""
        keep = np.stack(masks) if len(masks) else None
        count = len(inputs) if isinstance(inputs, np.ndarray) else inputs.shape[1]
        shape = (max(1, len(masks)), 1 if mean else steps, count, self.layers[-1].outputs)
        outputs = np.zeros(shape, np.float32)
        self._propagate(inputs, steps, keep, NO_WORDS, outputs)
        return vote(torch.from_numpy(outputs), self.layers[-1])

    def begin(self, inputs: Tensor | Words, steps: int, masks: Sequence[Words] = ()) -> CompiledSteps:
        """Start a run of one time step at a time; the arguments are those of `outputs`."""
        return CompiledSteps(self, inputs, steps, masks)

    def _propagate(
        self, inputs: Tensor | Words, steps: int, keep: Words | None, out: Words, outputs: NDArray[np.float32]
    ) -> None:
        values_and_words = _split_inputs(inputs, steps)
        running = np.arange(_count(*values_and_words))
        self.run(*values_and_words, keep, out, outputs, running, NO_STATE, 0, steps)

    def run(
        self,
        analog: Floats,
        spikes: Words,
        keep: Words | None,
        out: Words,
        outputs: NDArray[np.float32],
        running: NDArray[np.int64],
        state: Floats,
        start: int,
        steps: int,
    ) -> None:
        """Call `kernels.propagate` on all threads; `keep` is ``None`` without dropout."""
        table = self.unmasked if keep is None else self.table
        arguments = (table, *self.constants, analog, spikes, NO_MASKS if keep is None else keep)
        where = (out, outputs, running, state, start, steps)
        parallel_ranges(lambda first, last: kernels.propagate(*arguments, *where, first, last), len(running))


class CompiledSteps:
    """Run layers one time step at a time, for the inputs that have not stopped; see `ReferenceSteps`."""

    def __init__(self, runner: Compiled, inputs: Tensor | Words, steps: int, masks: Sequence[Words]) -> None:
        self._runner = runner
        self._inputs = _split_inputs(inputs, steps)
        self._keep = np.stack(masks) if len(masks) else None
        count = _count(*self._inputs)
        places = [int(row["out_height"] * row["out_width"] * row["words"]) * WORD for row in runner.table]
        values = sum(size for size, row in zip(places, runner.table, strict=True) if row["spiking"])
        cached = places[0] if len(self._inputs[0]) == 1 else 0
        # At least one value, since the kernels take an empty state to mean all steps at once.
        self._state = np.zeros((max(1, len(masks)), count, max(1, values + cached)), np.float32)
        self._sizes = steps, count

    def outputs(self, running: Tensor, step: int) -> Tensor:
        """Compute the outputs [S, n, C] of the inputs `running` at `step`; call it for steps 0, 1, ... in order."""
        outputs = torch.zeros(len(self._state), 1, len(running), self._runner.layers[-1].outputs)
        self._advance(NO_WORDS, outputs.numpy(), running, step)
        return vote(outputs, self._runner.layers[-1])[:, 0]

    def spikes(self, running: Tensor, step: int) -> None:
        """Write the spikes of the last layer at `step` into `written`, for the inputs `running`."""
        self._advance(self.written, NO_OUTPUTS, running, step)

    @cached_property
    def written(self) -> Words:
        """Words [N, T, words] that `spikes` fills one step at a time."""
        steps, count = self._sizes
        height, width = self._runner.layers[-1].window.out_size
        return np.zeros((count, steps, height * width * self._runner.layers[-1].words), np.uint32)

    def _advance(self, out: Words, outputs: NDArray[np.float32], running: Tensor, step: int) -> None:
        self._runner.run(*self._inputs, self._keep, out, outputs, running.numpy(), self._state, step, 1)


def _count(analog: Floats, spikes: Words) -> int:
    """The number of inputs."""
    return len(spikes) or analog.shape[1]


def _split_inputs(inputs: Tensor | Words, steps: int) -> tuple[Floats, Words]:
    """Inputs as values and no words, or as words and no values if they are spikes over time."""
    if isinstance(inputs, np.ndarray):
        return NO_FLOATS, inputs
    values = inputs.contiguous().numpy()
    if len(values) == steps:
        length, count, height, width, channels = values.shape
        words = np.zeros((count, steps, height * width * (-(-channels // WORD))), np.uint32)
        flat = values.reshape(length, count, height * width, channels)
        if gather.pack_spikes(flat, words):
            return NO_FLOATS, words
    return values.reshape(len(values), values.shape[1], -1), NO_WORDS


def _weight_array(row: np.void) -> int:
    """Which array stores a layer's weights: 0 for planes of bits, 1 for codes as bytes, 2 for floats."""
    return (1 if row["narrow"] else 0) if row["ternary"] else 2


def _weight_values(row: np.void, layer: Layer) -> Any:
    """A layer's weights row by row, as values of that array."""
    if layer.planes is None:
        assert layer.weights is not None
        return layer.weights.numpy().reshape(-1)
    planes = layer.planes.numpy().view(np.uint32)
    return (signed_codes(planes) if row["narrow"] else counted_planes(planes)).reshape(-1)


def _fill_row(row: np.void, layer: Layer) -> None:
    window = layer.window
    row["channels"], row["height"], row["width"] = window.channels, window.height, window.width
    row["words_in"] = -(-window.channels // WORD)
    row["kernel_height"], row["kernel_width"] = window.kernel
    row["stride_down"], row["stride_right"] = window.stride
    row["dilation_down"], row["dilation_right"] = window.dilation
    (row["top"], _), (row["left"], _) = window.padding
    row["pool"], row["pool_max"] = window.pool, window.pool_kind == "max"
    row["out_height"], row["out_width"] = window.out_size
    row["words"], row["ternary"] = layer.words, layer.planes is not None
    row["narrow"] = layer.planes is not None and layer.words <= NARROW
    row["gain"], row["outputs"] = layer.gain, layer.outputs
    if isinstance(layer.neuron, LIFParameters):
        row["spiking"], row["hard_reset"] = True, layer.neuron.reset == "hard"
        row["decay"], row["threshold"], row["delayed_reset"] = (
            layer.neuron.decay,
            layer.neuron.threshold,
            layer.delayed_reset,
        )
