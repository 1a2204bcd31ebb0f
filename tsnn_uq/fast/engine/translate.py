"""Translate a trained network to layers of the engine: fold BatchNorm, and attach pooling and masks to layers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from tsnn_uq.batches import device_of
from tsnn_uq.checks import InputError, check_positive
from tsnn_uq.coding import Coding
from tsnn_uq.fast.engine.layers import Layer, Masks, Window
from tsnn_uq.fast.engine.library_neurons import is_foreign_dropout, read_neurons
from tsnn_uq.networks import flat_layers
from tsnn_uq.neurons import LI, LIF, PLIF
from tsnn_uq.quantization.parametrizations import float_parameter, weight_steps
from tsnn_uq.readout import Gain
from tsnn_uq.state import is_library_neuron
from tsnn_uq.uncertainty import DropConnectLinear, Dropout, StochasticLayer
from tsnn_uq.uncertainty.add_dropout import CHILD, DroppedWeight
from tsnn_uq.uncertainty.library_layers import mask_mode

__all__ = ["Program", "translate"]

OTHERS = "convert networks of other libraries with tsnn_uq.exchange.from_nir, or use mc_predict, which takes any module"
DROPCONNECT = DropConnectLinear | DroppedWeight
TIMELESS = nn.BatchNorm1d | nn.BatchNorm2d | nn.Conv1d | nn.AvgPool1d | nn.AvgPool2d | nn.MaxPool2d


@dataclass(frozen=True)
class Program:
    """A translated network: the coding of its input, and layers.

    Without a `coding`, the network takes currents over time [T, N, ...].
    """

    coding: Coding | None
    coding_name: str
    layers: tuple[Layer, ...]
    input_shape: tuple[int, ...] | None = None

    @property
    def random_input(self) -> bool:
        """Whether the coding draws spikes at random."""
        return self.coding is not None and self.coding.stochastic


def translate(network: nn.Module, input_shape: Sequence[int] | None = None) -> Program:
    """Translate a trained network, a Sequential of layers of `tsnn_uq.networks` and `tsnn_uq.neurons`.

    The supported layers, which include everything that `tsnn_uq.exchange.from_nir` returns, are:

    - optionally, a `Coding` first;
    - in any order, linear layers and one- or two-dimensional convolutions (ternary or float), LIF and PLIF neurons,
      leaky integrators, pooling and Flatten;
    - BatchNorm after a layer with weights, and dropout anywhere but on the input;
    - optionally, the mean of several outputs for each class and a `Gain` at the end.

    Layers of torch that have no time axis are inside an `OverTime`. Layers may have the dropout or dropconnect of
    `tsnn_uq.uncertainty.make_stochastic`. Modules that need a layer of their own but have no weights, such as neurons
    after pooling, become a layer with one weight of 1 for each channel.

    A Sequential of snnTorch or SpikingJelly may have layers of torch or SpikingJelly, and the neurons of
    `tsnn_uq.fast.engine.library_neurons`.

    Args:
        network: the network; it is not changed.
        input_shape: shape of an input for convolutions and pooling: channels, and height and width if any.

    Returns:
        The program, on the network's device.

    Raises:
        InputError: names the first module that is not supported, or not at its place in the network.
    """
    modules = list(flat_layers(network))
    coding_name, first, _ = modules[0] if modules else ("", network, False)
    coding = first if isinstance(first, Coding) else None
    if coding is not None:
        modules = modules[1:]
    elif not isinstance(network, nn.Sequential):
        raise InputError(f"network: expected a Sequential; got {type(network).__name__} ({OTHERS})")
    foreign = any(is_library_neuron(module) for _, module, _ in modules)
    if foreign:  # the layers of other libraries need no OverTime
        modules = [
            (name, module, wrapped or isinstance(module, TIMELESS | nn.Flatten)) for name, module, wrapped in modules
        ]
    shape = _checked_shape(input_shape)
    translator = _Translator(_as_map(shape) if shape else None, len(shape or (1,)), foreign, device_of(network))
    for name, module, wrapped in modules:
        translator.add(name, module, wrapped)
    layers = translator.finish()
    if set(filter(_has_masks, network.modules())) - set(translator.random_modules):
        raise InputError("network: expected random layers in the Sequential; got one inside a layer")
    if len(set(translator.random_modules)) < len(translator.random_modules):
        raise InputError("network: expected each random layer once, since its masks go by its name; got one twice")
    return Program(coding, coding_name, layers, shape if layers[0].window.size[1:] != (1, 1) else None)


def _has_masks(module: nn.Module) -> bool:
    """Whether a module is a stochastic layer with p > 0."""
    return isinstance(module, StochasticLayer) and module.p > 0


def _checked_shape(shape: Sequence[int] | None) -> tuple[int, ...] | None:
    if shape is None:
        return None
    if not 1 <= len(shape) <= 3:
        raise InputError(f"input_shape: expected one to three sizes, channels first; got {tuple(shape)}")
    for size in shape:
        check_positive("input_shape", size, integer=True)
    return tuple(shape)


def _as_map(sizes: Sequence[int]) -> tuple[int, int, int]:
    """Channels, rows and columns of a map, of data [channels, columns], or of features [channels]."""
    columns = sizes[-1] if len(sizes) > 1 else 1
    return sizes[0], sizes[1] if len(sizes) > 2 else 1, columns


@dataclass
class _Translator:
    """Translate one module after the other, tracking the shape of the map."""

    shape: tuple[int, int, int] | None  # channels, height and width after the finished layers
    axes: int  # number of axes of the data: features, or channels and one or two axes of a map
    foreign: bool  # whether the network is from another library
    device: torch.device
    finished: list[Layer] = field(default_factory=list)
    layer: Layer | None = None  # the layer in progress, which BatchNorm and neurons may follow
    pool: int = 1
    pool_kind: str = "mean"
    dropout: Masks | None = None
    random_modules: list[nn.Module] = field(default_factory=list)  # modules that draw masks

    @torch.no_grad()
    def add(self, name: str, module: nn.Module, wrapped: bool) -> None:
        """Translate the next module; `wrapped` is whether it is inside an `OverTime`."""
        place = f"{type(module).__name__} ({name!r})"
        if isinstance(module, LIF | PLIF | LI | Dropout) if wrapped else isinstance(module, TIMELESS):
            wanted = "BatchNorm, pooling and Conv1d, and only such, in an OverTime"
            raise InputError(f"network: expected {wanted}; got {place}")
        if self.layer is not None and (self.layer.gain != 1 or (self.layer.votes > 1 and not isinstance(module, Gain))):
            raise InputError(f"network: expected Gain as the last layer; got {place} after it")
        if isinstance(module, nn.Linear):
            self._linear(name, module)
        elif isinstance(module, nn.Conv1d | nn.Conv2d):
            self._convolution(name, module)
        elif isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            self._batch_norm(name, module)
        elif isinstance(module, LIF | PLIF | LI) or is_library_neuron(module):
            self._neurons(name, module)
        elif isinstance(module, Dropout):
            self._dropout(name, module, module.mask)
        elif self.foreign and is_foreign_dropout(module):
            self._dropout(name, module, mask_mode(module))
        elif isinstance(module, nn.AvgPool2d | nn.MaxPool2d):
            self._pooling(name, module)
        elif isinstance(module, nn.AvgPool1d):
            self._vote(name, module)
        elif isinstance(module, nn.Flatten) and self._flatten(name, module, 1 if wrapped else 2):
            pass
        elif isinstance(module, Gain) and self.layer is not None and not self._inputs_pending:
            one = self.layer
            self.layer = one.affine(module.gain) if one.neuron is None else replace(one, gain=module.gain)
        elif not isinstance(module, nn.Identity):
            raise InputError(f"network: expected layers that the engine knows; got {place} ({OTHERS})")

    def finish(self) -> tuple[Layer, ...]:
        """Close the last layer, whose outputs are those of the network, and return all layers."""
        if self.pool != 1:
            self._per_channel("the last pooling")
        if self.layer is None and not self.finished:
            raise InputError("network: expected at least one layer of weights or neurons; got none")
        if self.layer is None or self.dropout or (self.axes > 1 and self.layer.out[1:] != (1, 1)):
            wanted = "outputs with one axis, the classes, and no dropout on them"
            raise InputError(f"network: expected {wanted}; got a map or dropout (put a Flatten after a map)")
        self._close()
        return tuple(self.finished)

    @property
    def _inputs_pending(self) -> bool:
        """Whether pooling or dropout is to be attached to the next layer, whose inputs it changes."""
        return self.pool != 1 or self.dropout is not None

    def _close(self) -> None:
        if self.layer is not None:
            self.finished.append(self.layer.finished())
            self.shape = self.layer.out
            self.layer = None

    def _map(self, name: str) -> tuple[int, int, int]:
        """Shape of the map that the next layer gets, before pending pooling."""
        shape = self.shape if self.layer is None else self.layer.out
        if shape is None:
            raise InputError(f"input_shape: expected the shape of an input, which {name!r} needs; got None")
        return shape

    def _per_channel(self, name: str, kernel: tuple[int, int] = (1, 1), **options: Any) -> Layer:
        """Start a layer that only sums inputs within each channel, with a kernel of 1 x 1 by default."""
        shape = self._map(name)
        self._close()
        window = replace(self._window(shape, kernel), groups=shape[0], **options)
        ones = torch.ones(shape[0], window.inputs, device=self.device)
        return self._start(name, window, ones, torch.zeros_like(ones[:, 0]), None)

    def _flatten(self, name: str, module: nn.Flatten, leading: int) -> bool:
        """Flatten axes after the `leading` ones for time and batch; return False if the module flattens those too.

        A linear layer after a map is a convolution as large as the map, so a map that is flattened entirely stays one.
        """
        start, end = (dim - leading if dim >= 0 else dim + self.axes for dim in (module.start_dim, module.end_dim))
        if start < 0:
            return False
        if start == 0 and end == self.axes - 1:
            self.axes = 1
        elif start < end:
            channels, height, width = self._per_channel(name).out
            before = (channels, height, width) if self.axes == 3 else (channels, width)
            sizes = (*before[:start], math.prod(before[start : end + 1]), *before[end + 1 :])
            self._close()
            self.shape, self.axes = _as_map(sizes), len(sizes)
        return True

    def _linear(self, name: str, module: nn.Linear) -> None:
        self._close()
        channels, height, width = self.shape or (module.in_features, 1, 1)
        if self.finished and self.axes > 1:
            raise InputError(f"network: expected a Flatten between a map and {name!r}, Linear; got none")
        if not self.finished and channels * height * width == module.in_features:
            channels, height, width = module.in_features, 1, 1  # no layer uses the image as a map
        window = self._window((channels, height, width), (height // self.pool, width // self.pool))
        if window.inputs != module.in_features:
            raise InputError(f"network: expected {window.inputs} inputs of {name!r}; got {module.in_features}")
        weight = _weight(module).unflatten(1, (channels, *window.kernel)).permute(0, 2, 3, 1).flatten(1)
        self._start_weighted(name, module, window, weight)
        self.axes = 1

    def _convolution(self, name: str, module: nn.Conv1d | nn.Conv2d) -> None:
        shape = self._map(name)
        self._close()
        if module.padding_mode != "zeros":
            raise InputError(f"network: expected convolutions padded with zeros; got {module} ({name!r})")
        self.axes = 1 + len(module.kernel_size)
        window = replace(
            self._window(shape, _down_and_right(module.kernel_size)),
            stride=_down_and_right(module.stride),
            padding=_padding(module),
            dilation=_down_and_right(module.dilation),
            groups=module.groups,
        )
        if module.in_channels != window.channels:
            raise InputError(f"network: expected {window.channels} inputs of {name!r}; got {module.in_channels}")
        self._start_weighted(name, module, window, _weight(module).movedim(1, -1).flatten(1))

    def _window(self, shape: tuple[int, int, int], kernel: tuple[int, int]) -> Window:
        return Window(*shape, kernel, pool=self.pool, pool_kind=self.pool_kind)

    def _start_weighted(
        self, name: str, module: nn.Linear | nn.Conv1d | nn.Conv2d, window: Window, weight: Tensor
    ) -> None:
        bias = weight.new_zeros(len(weight)) if module.bias is None else module.bias.detach()
        if isinstance(dropout := module._modules.get(CHILD), Dropout):  # added by make_stochastic
            self._dropout(f"{name}.{CHILD}", dropout, dropout.mask)
        self._start(name, window, weight, bias, self._dropconnect(name, module))

    def _start(self, name: str, window: Window, weight: Tensor, bias: Tensor, dropconnect: Masks | None) -> Layer:
        if min(window.out_size) < 1:
            raise InputError(f"network: expected a map as large as the kernel of {name!r}; got {window}")
        layer = self.layer = Layer.from_weights(window, weight, bias, self.dropout, dropconnect)
        self.pool, self.dropout = 1, None
        return layer

    def _dropconnect(self, name: str, module: nn.Module) -> Masks | None:
        """Masks on the weights: the layer's own, or those added by make_stochastic."""
        steps = [(f"{name}.parametrizations.weight.{i}", step) for i, step in enumerate(weight_steps(module))]
        found = [
            (place, step) for place, step in [(name, module), *steps] if isinstance(step, DROPCONNECT) and step.p > 0
        ]
        for place, step in found:
            if getattr(step, "per_input", False) or step.mask != "fixed" or len(found) > 1:
                wanted = "dropconnect masks that are fixed over time and shared by the inputs"
                raise InputError(f"network: expected {wanted}; got {step} ({place!r})")
            self.random_modules.append(step)
            return Masks(place, step.p)
        return None

    def _batch_norm(self, name: str, module: nn.BatchNorm1d | nn.BatchNorm2d) -> None:
        layer = self._synapses(name, module)
        if module.running_mean is None or module.running_var is None:
            raise InputError(f"network: expected BatchNorm with running statistics; got one without ({name!r})")
        if module.num_features != layer.outputs:
            wanted = f"BatchNorm of the {layer.outputs} channels before it"
            raise InputError(f"network: expected {wanted}; got one of {module.num_features} ({name!r})")
        factor = (module.running_var.double() + module.eps).rsqrt()
        factor = factor * module.weight.detach().double() if module.affine else factor
        shift = module.bias.detach().double() if module.affine else 0.0
        self.layer = layer.affine(factor, module.running_mean.double(), shift)

    def _neurons(self, name: str, module: nn.Module) -> None:
        layer = self.layer
        if layer is None or layer.neuron is not None or self._inputs_pending:
            layer = self._per_channel(name)
        if isinstance(module, LI):
            self.layer = replace(layer, neuron=module)
            return
        neurons = read_neurons(name, module)
        self.layer = replace(layer.affine(neurons.factor), neuron=neurons.params, delayed_reset=neurons.delayed_reset)

    def _vote(self, name: str, module: nn.AvgPool1d) -> None:
        sizes = [_pair(size)[0] for size in (module.kernel_size, module.stride, module.padding)]
        flat = self.layer is not None and self.layer.out[1:] == (1, 1) and not self._inputs_pending
        if self.layer is None or not flat or sizes != [sizes[0], sizes[0], 0] or self.layer.outputs % sizes[0]:
            wanted = "AvgPool1d over the same number of outputs for each class, without overlap"
            raise InputError(f"network: expected {wanted}; got {module} ({name!r})")
        self.layer = replace(self.layer, votes=sizes[0])

    def _synapses(self, name: str, module: nn.Module) -> Layer:
        if self.layer is None or self.layer.neuron is not None or self._inputs_pending:
            wanted = "a layer with weights right before"
            raise InputError(f"network: expected {wanted} {name!r}, {type(module).__name__}; got something else")
        return self.layer

    def _dropout(self, name: str, module: Any, mask: str) -> None:
        if module.p == 0:
            return
        if self.dropout or (self.layer is None and not self.finished):
            raise InputError(f"network: expected at most one dropout, after a layer; got it elsewhere ({name!r})")
        self.dropout = Masks(name, module.p, mask == "per-step", pooled=self.pool > 1)
        self.random_modules.append(module)

    def _pooling(self, name: str, module: nn.AvgPool2d | nn.MaxPool2d) -> None:
        kernel, stride, padding = (_pair(sizes) for sizes in (module.kernel_size, module.stride, module.padding))
        plain = len({*kernel, *stride}) == 1 and padding == (0, 0)
        if isinstance(module, nn.MaxPool2d):
            if not plain or module.ceil_mode or module.return_indices or set(_pair(module.dilation)) != {1}:
                wanted = "maximum pooling in squares that do not overlap"
                raise InputError(f"network: expected {wanted}; got {module} ({name!r})")
        elif module.ceil_mode or (padding != (0, 0) and not module.count_include_pad):
            wanted = "average pooling of whole windows, padding counted"
            raise InputError(f"network: expected {wanted}; got {module} ({name!r})")
        if self.pool != 1:
            self._per_channel(name)
        if isinstance(module, nn.MaxPool2d):
            self.pool, self.pool_kind = kernel[0], "max"
        elif plain and module.divisor_override in (None, 1):
            self.pool, self.pool_kind = kernel[0], "sum" if module.divisor_override else "mean"
        else:
            zeros = tuple((size, size) for size in padding)
            layer = self._per_channel(name, kernel=kernel, stride=stride, padding=zeros)
            self.layer = layer.affine(1 / (module.divisor_override or math.prod(kernel)))


def _weight(module: nn.Linear | nn.Conv1d | nn.Conv2d) -> Tensor:
    """The weight of a layer before dropconnect."""
    steps, weight = weight_steps(module), float_parameter(module)
    if weight is None or not any(isinstance(step, DroppedWeight) for step in steps):
        return module.weight.detach()
    for step in steps:
        weight = weight if isinstance(step, DroppedWeight) else step(weight)
    return weight.detach()


def _pair(value: int | tuple[int, ...]) -> tuple[int, int]:
    return (value[0], value[-1]) if isinstance(value, tuple) else (value, value)


def _down_and_right(sizes: tuple[int, ...]) -> tuple[int, int]:
    """Sizes along rows and columns; one-dimensional convolutions have only the second."""
    return sizes[-2] if len(sizes) > 1 else 1, sizes[-1]


def _padding(module: nn.Conv1d | nn.Conv2d) -> tuple[tuple[int, int], tuple[int, int]]:
    """Zeros above and below, left and right; an odd number of them for ``"same"`` has one more at the end."""
    sizes: list[tuple[int, int]] = [(0, 0)] * (2 - len(module.kernel_size))
    for axis, (kernel, dilation) in enumerate(zip(module.kernel_size, module.dilation, strict=True)):
        if isinstance(module.padding, str):
            zeros = dilation * (kernel - 1) if module.padding == "same" else 0
            sizes.append((zeros // 2, zeros - zeros // 2))
        else:
            sizes.append((int(module.padding[axis]), int(module.padding[axis])))
    return sizes[0], sizes[1]
