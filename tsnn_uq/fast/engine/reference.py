"""The engine in plain PyTorch: dense sums of ternary codes, on any device.

The tests compare the kernels with this code bit for bit. It runs where the kernels cannot: on a GPU, without numba, and
for layers that the kernels do not support, such as leaky integrators and grouped convolutions. The codes are -1, 0 and
+1 and the spikes 0 and 1, so the sums are exact integers in float32 up to 2**24. Each layer unpacks its weights from
two bits while it runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional

from tsnn_uq.fast.engine.layers import NO_PADDING, Layer, Window, unpack_planes, vote
from tsnn_uq.fast.engine.masks import Draw
from tsnn_uq.neurons import LIFParameters

__all__ = ["Reference", "currents", "fire"]


class Reference:
    """Run layers on the device of their weights."""

    draws = Draw

    def __init__(self, layers: Sequence[Layer]) -> None:
        self.layers = tuple(layers)

    def with_weights(self, layers: Sequence[Layer]) -> Reference:
        """A copy for layers that differ only in their weights."""
        return Reference(layers)

    def masks(self, draw: Draw, sample: int) -> Sequence[Tensor]:
        """Dropout masks of one sample, in the form that `outputs` takes."""
        return draw.inputs(self.layers, sample)

    def sample_bytes(self, count: int, steps: int, mean: bool) -> int:
        """Bytes that `outputs` needs for each further sample of `count` inputs, if samples run one by one."""
        per_step = any(layer.dropout and layer.dropout.per_step for layer in self.layers)
        windows = [layer.window for layer in self.layers if layer.dropout is not None]
        masks = sum(one.height * one.width * one.channels for one in windows) * (steps if per_step else 1)
        return count * (masks + 4 * self.layers[-1].outputs * (1 if mean else steps))

    def spikes(self, inputs: Tensor, steps: int) -> Tensor:
        """Compute the spikes [T, N, height, width, channels] of the last layer."""
        return self._propagate(inputs, steps, [])

    def outputs(
        self, inputs: Tensor, steps: int, masks: Sequence[Sequence[Tensor]] = ((),), mean: bool = False
    ) -> Tensor:
        """Compute the outputs [S, T, N, C] of the last layer, or their mean over time [S, 1, N, C].

        Args:
            inputs: spikes or values [T, N, height, width, channels]; T = 1 for values that are constant over time.
            steps: number of time steps, T.
            masks: for each sample, and each layer with dropout, the inputs that are kept: bool
                [T or 1, N, height, width, channels]. Empty for a sample without dropout.
            mean: whether to average over time.
        """
        gain = self.layers[-1].gain
        samples = [_features(self._propagate(inputs, steps, keep)) * gain for keep in masks]
        return vote(torch.stack([_mean(one) if mean else one for one in samples]), self.layers[-1])

    def begin(self, inputs: Tensor, steps: int, masks: Sequence[Sequence[Tensor]] = ((),)) -> ReferenceSteps:
        """Start a run of one time step at a time; the arguments are those of `outputs`."""
        return ReferenceSteps(self.layers, inputs, steps, masks)

    def _propagate(self, inputs: Tensor, steps: int, keep: Sequence[Tensor]) -> Tensor:
        waiting = iter(keep)
        for layer in self.layers:
            inputs = _as_window_maps(inputs, layer.window)
            if layer.dropout is not None and keep:
                inputs = inputs * next(waiting)
            inputs = _neuron_outputs(layer, currents(layer, inputs), steps)
        return inputs.expand(steps, *inputs.shape[1:])


class ReferenceSteps:
    """Run layers one time step at a time, for the inputs that have not stopped, and keep the potentials in between.

    Inputs that have stopped cost nothing. The outputs of the others are those of a run of all steps.
    """

    def __init__(
        self, layers: Sequence[Layer], inputs: Tensor, steps: int, masks: Sequence[Sequence[Tensor]] = ((),)
    ) -> None:
        self._layers, self._inputs, self._masks, self._steps = layers, inputs, masks, steps
        # A constant current is computed once.
        self._constant_current = currents(layers[0], inputs) if len(inputs) == 1 else None
        self._potentials: list[dict[int, Tensor]] = [{} for _ in masks]

    def outputs(self, running: Tensor, step: int) -> Tensor:
        """Compute the outputs [S, n, C] of the inputs `running` at `step`; call it for steps 0, 1, ... in order."""
        samples = [_features(self._advance(sample, running, step)) for sample in range(len(self._masks))]
        return vote(torch.stack(samples) * self._layers[-1].gain, self._layers[-1])

    def spikes(self, running: Tensor, step: int) -> None:
        """Write the spikes of the last layer at `step` into `written`, for the inputs `running`."""
        self.written[step, running] = self._advance(0, running, step)

    @cached_property
    def written(self) -> Tensor:
        """Spikes [T, N, height, width, channels] that `spikes` fills one step at a time."""
        size = (*self._layers[-1].window.out_size, self._layers[-1].outputs)
        return self._inputs.new_zeros(self._steps, self._inputs.shape[1], *size)

    def _advance(self, sample: int, running: Tensor, step: int) -> Tensor:
        waiting = iter(self._masks[sample])
        now = self._inputs[min(step, len(self._inputs) - 1)][None, running]
        for index, layer in enumerate(self._layers):
            now = _as_window_maps(now, layer.window)
            if layer.dropout is not None and self._masks[sample]:
                keep = next(waiting)
                now = now * keep[min(step, len(keep) - 1)][None, running]
            now = (
                self._constant_current[:, running]
                if index == 0 and self._constant_current is not None
                else currents(layer, now)
            )
            if layer.neuron is not None:
                kept = self._potentials[sample]
                if index not in kept:
                    kept[index] = now.new_zeros(self._inputs.shape[1], *now.shape[2:])
                potential = kept[index][running]
                now = _neuron_outputs(layer, now, 1, potential)
                kept[index][running] = potential
        return now[0]


def _mean(outputs: Tensor) -> Tensor:
    """Average over time in the summation order of the kernel."""
    total = torch.zeros_like(outputs[:1])
    for one in outputs:
        total += one / len(outputs)
    return total


def currents(layer: Layer, inputs: Tensor) -> Tensor:
    """Compute the current into each neuron, scale * sum + bias, from inputs [T, N, height, width, channels]."""
    window = layer.window
    if layer.planes is not None:
        weight = unpack_planes(layer.planes, layer.outputs)
    else:
        assert layer.weights is not None
        weight = layer.weights[:, : layer.outputs]
    maps = inputs.flatten(0, 1).movedim(-1, 1)
    if window.pool > 1:
        size = window.pool
        maps = functional.max_pool2d(maps, size) if window.pool_kind == "max" else _square_sums(maps, size)
    kernel = weight.reshape(*window.kernel, -1, layer.outputs).permute(3, 2, 0, 1)
    (top, bottom), (left, right) = window.padding
    maps = functional.pad(maps, (left, right, top, bottom)) if window.padding != NO_PADDING else maps
    if maps.shape[1:] == kernel.shape[1:]:
        sums = (maps.flatten(1) @ kernel.flatten(1).T).reshape(-1, layer.outputs, 1, 1)
    else:
        sums = functional.conv2d(maps, kernel, None, window.stride, 0, window.dilation, window.groups)
    sums = sums.permute(0, 2, 3, 1).unflatten(0, inputs.shape[:2])
    return (sums * layer.scale[: layer.outputs]).add_(layer.bias[: layer.outputs])


def _square_sums(maps: Tensor, size: int) -> Tensor:
    """Sum over squares. The divisor of a mean is part of the scale, so that sums of spikes stay integers."""
    return functional.avg_pool2d(maps, size, divisor_override=1)


def _as_window_maps(inputs: Tensor, window: Window) -> Tensor:
    """Reshape maps [T, N, height, width, channels] to the axes of a window, which differ after a `Flatten`."""
    channels, height, width = window.size
    if inputs.shape[2:] == (height, width, channels):
        return inputs
    return _features(inputs).reshape(*inputs.shape[:2], channels, height, width).movedim(2, -1)


def _features(maps: Tensor) -> Tensor:
    """Reshape maps [..., height, width, channels] to features [..., channels * height * width]."""
    return maps.movedim(-1, -3).flatten(-3)


def _neuron_outputs(layer: Layer, current: Tensor, steps: int, potential: Tensor | None = None) -> Tensor:
    """Outputs of a layer for its current: spikes (see `fire`), potentials of leaky integrators, or the current."""
    if isinstance(layer.neuron, LIFParameters):
        return fire(current, layer.neuron, steps, potential, layer.delayed_reset)
    if layer.neuron is None:
        return current
    values = current.new_empty(steps, *current.shape[1:])
    potential = torch.zeros_like(values[0]) if potential is None else potential
    for t in range(steps):
        potential.mul_(layer.neuron.decay).add_(layer.neuron.gain * current[min(t, len(current) - 1)])
        values[t] = potential
    return values


def fire(
    current: Tensor, neuron: LIFParameters, steps: int, potential: Tensor | None = None, delayed_reset: float = 0.0
) -> Tensor:
    """Compute the spikes of LIF neurons (`tsnn_uq.neurons.lif_step`) for a current over time, or one constant step.

    Products and sums are rounded separately, as in the kernel, and not fused. A given `potential` is updated in place;
    by default neurons begin at rest. With `delayed_reset`, a spike does not change the potential at once; the value is
    subtracted one step later.
    """
    spikes = current.new_empty(steps, *current.shape[1:])
    potential = torch.zeros_like(spikes[0]) if potential is None else potential
    for t in range(steps):
        due = potential >= neuron.threshold if delayed_reset else None
        charged = potential.mul_(neuron.decay).add_(current[min(t, len(current) - 1)])
        if due is not None:
            charged.addcmul_(due.to(charged.dtype), spikes.new_tensor(-delayed_reset))
        torch.ge(charged, neuron.threshold, out=spikes[t])
        if delayed_reset:
            potential = charged
        elif neuron.reset == "soft":
            potential = charged.addcmul_(spikes[t], spikes.new_tensor(-neuron.threshold))
        else:
            potential = charged.masked_fill_(spikes[t].bool(), 0)
    return spikes
