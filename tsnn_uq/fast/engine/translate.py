"""From a trained network to the engine's layers: BatchNorm folded, pooling and masks put where they act."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from tsnn_uq.checks import InputError, check_positive
from tsnn_uq.coding import Coding
from tsnn_uq.fast.engine.layers import Layer, Masks, Window
from tsnn_uq.networks import flat_layers
from tsnn_uq.neurons import LIF, PLIF
from tsnn_uq.readout import Gain
from tsnn_uq.uncertainty import DropConnectLinear, Dropout, StochasticLayer

__all__ = ["Program", "translate"]

OTHERS = "tsnn_uq.exchange.from_nir brings networks of other libraries over; mc_predict takes them as they are"


@dataclass(frozen=True)
class Program:
    """A network as the engine runs it: a coding of the input, and layers."""

    coding: Coding
    coding_name: str
    layers: tuple[Layer, ...]


def translate(network: nn.Module, input_shape: Sequence[int] | None = None) -> Program:
    """Translate a trained network: a Sequential of what `tsnn_uq.networks` and `tsnn_uq.neurons` have.

    That is: Coding first; then synapses (linear, dropconnect or convolution, ternary or float, with or without bias),
    each with BatchNorm and LIF or PLIF neurons behind it as wished, dropout on spikes, pooled ones too, mean or max
    pooling of spikes, Flatten; last, synapses whose currents are the outputs, or neurons and a Gain, before it perhaps
    means of as many outputs for each class. What knows no time stands in `OverTime`.

    Args:
        network: the network; it is not changed.
        input_shape: channels, height and width of an image, for convolutions.

    Returns:
        The program, on the network's device.

    Raises:
        InputError: names the first module that the engine does not know or that stands where it cannot be.
    """
    modules = list(flat_layers(network))
    coding_name, coding, _ = modules[0] if modules else ("", network, False)
    if not isinstance(coding, Coding):
        found = type(coding).__name__ if modules else "an empty network"
        raise InputError(f"network: expected a Sequential that begins with a Coding; got {found} ({OTHERS})")
    random = [module for _, module, _ in modules if _has_masks(module)]
    if set(filter(_has_masks, network.modules())) - set(random):
        problem = "got one inside a layer: make_deterministic it"
        raise InputError(f"network: expected random layers in the Sequential; {problem}")
    if len(set(random)) < len(random):
        raise InputError("network: expected each random layer once, since its masks go by its name; got one twice")
    walk = _Walk(_checked_shape(input_shape))
    for name, module, wrapped in modules[1:]:
        walk.take(name, module, wrapped)
    return Program(coding, coding_name, walk.finish())


def _has_masks(module: nn.Module) -> bool:
    """Whether a module is a stochastic layer that drops anything."""
    return isinstance(module, StochasticLayer) and module.p > 0


def _checked_shape(shape: Sequence[int] | None) -> tuple[int, int, int] | None:
    if shape is None:
        return None
    if len(shape) != 3:
        raise InputError(f"input_shape: expected channels, height and width; got {tuple(shape)}")
    for size in shape:
        check_positive("input_shape", size, integer=True)
    return shape[0], shape[1], shape[2]


@dataclass
class _Walk:
    """Goes through the modules with a map [channels, height, width] in hand."""

    shape: tuple[int, int, int] | None
    done: list[Layer] = field(default_factory=list)
    open: Layer | None = None  # what BatchNorm and neurons may follow
    spikes: bool = False  # whether what comes next sees spikes
    pool: int = 1
    pool_kind: str = "mean"
    dropout: Masks | None = None

    @torch.no_grad()
    def take(self, name: str, module: nn.Module, wrapped: bool) -> None:
        """Take in the next module; `wrapped` is whether it stands in an `OverTime`."""
        place = f"{type(module).__name__} ({name!r})"
        timeless = isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d | nn.AvgPool1d | nn.AvgPool2d | nn.MaxPool2d)
        if (timeless and not wrapped) or (wrapped and isinstance(module, LIF | PLIF | Dropout)):
            raise InputError(f"network: expected BatchNorm and pooling, and only such, in an OverTime; got {place}")
        if self.open is not None and (self.open.gain != 1 or (self.open.votes > 1 and not isinstance(module, Gain))):
            raise InputError(f"network: expected Gain as the last layer; got {place} behind it")
        if isinstance(module, nn.Linear):
            self._linear(name, module)
        elif isinstance(module, nn.Conv2d):
            self._convolution(name, module)
        elif isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            self._batch_norm(name, module)
        elif isinstance(module, LIF | PLIF):
            self._neurons(name, module)
        elif isinstance(module, Dropout):
            self._dropout(name, module)
        elif isinstance(module, nn.AvgPool2d | nn.MaxPool2d):
            self._pooling(name, module)
        elif isinstance(module, nn.AvgPool1d):
            self._vote(name, module)
        elif isinstance(module, nn.Flatten) and (module.start_dim, module.end_dim) == (1 if wrapped else 2, -1):
            pass  # a linear layer behind a map is a convolution as large as the map
        elif isinstance(module, Gain) and self.open is not None and self.open.neuron is not None:
            self.open = replace(self.open, gain=module.gain)
        elif not isinstance(module, nn.Identity):
            raise InputError(f"network: expected layers that the engine knows; got {place} ({OTHERS})")

    def finish(self) -> tuple[Layer, ...]:
        """Close the last layer; its outputs are those of the network."""
        if self.open is None:
            raise InputError("network: expected at least one linear or convolutional layer; got none")
        if self.open.window.out_size != (1, 1) or self.dropout or self.pool != 1:
            raise InputError("network: expected the last layer to give one value a class; got a map, or more behind it")
        self._close()
        return tuple(self.done)

    def _close(self) -> None:
        if self.open is not None:
            self.done.append(self.open.finished())
            self.shape = (self.open.outputs, *self.open.window.out_size)
            self.open = None

    def _start(self, name: str, module: nn.Module) -> None:
        """Close the layer before; the next one reads its spikes."""
        if self.open is not None and not self.spikes:
            raise InputError(f"network: expected spiking neurons before {name!r}, {type(module).__name__}; got none")
        self._close()
        self.spikes = False

    def _linear(self, name: str, module: nn.Linear) -> None:
        self._start(name, module)
        channels, height, width = self.shape or (module.in_features, 1, 1)
        if not self.done and channels * height * width == module.in_features:
            channels, height, width = module.in_features, 1, 1  # nothing looks at the image as a map
        window = self._window(channels, height, width, (height // self.pool, width // self.pool))
        if window.inputs != module.in_features:
            raise InputError(f"network: expected {window.inputs} inputs of {name!r}; got {module.in_features}")
        weight = module.weight.detach().unflatten(1, (channels, *window.kernel)).permute(0, 2, 3, 1).flatten(1)
        self._open(name, module, window, weight)

    def _convolution(self, name: str, module: nn.Conv2d) -> None:
        self._start(name, module)
        if self.shape is None:
            raise InputError("input_shape: expected channels, height and width of an image, for convolutions; got none")
        stride, padding = module.stride[0], module.padding[0]
        plain = module.groups == 1 and set(module.dilation) == {1} and module.padding_mode == "zeros"
        if not plain or len(set(module.stride)) != 1 or len(set(module.padding)) != 1 or isinstance(padding, str):
            wanted = "a convolution without groups and dilation, stride and padding alike in both directions"
            raise InputError(f"network: expected {wanted}; got {module} ({name!r})")
        window = self._window(*self.shape, (module.kernel_size[0], module.kernel_size[1]))
        window = replace(window, stride=stride, padding=int(padding))
        if module.in_channels != window.channels:
            raise InputError(f"network: expected {window.channels} inputs of {name!r}; got {module.in_channels}")
        if min(window.out_size) < 1:
            raise InputError(f"network: expected a map as large as the kernel of {name!r}; got {window}")
        self._open(name, module, window, module.weight.detach().permute(0, 2, 3, 1).flatten(1))

    def _window(self, channels: int, height: int, width: int, kernel: tuple[int, int]) -> Window:
        return Window(channels, height, width, kernel, pool=self.pool, pool_kind=self.pool_kind)

    def _open(self, name: str, module: nn.Linear | nn.Conv2d, window: Window, weight: Tensor) -> None:
        bias = weight.new_zeros(len(weight)) if module.bias is None else module.bias.detach()
        masks = None
        if isinstance(module, DropConnectLinear) and module.p > 0:
            if module.per_input or module.mask != "fixed":
                wanted = "dropconnect masks that are fixed over time and shared by the inputs"
                raise InputError(f"network: expected {wanted}; got {module} ({name!r})")
            masks = Masks(name, module.p)
        self.open = Layer.of(window, weight, bias, self.dropout, masks)
        self.pool, self.dropout = 1, None

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
        self.open = layer.affine(factor, module.running_mean.double(), shift)

    def _neurons(self, name: str, module: LIF | PLIF) -> None:
        layer, neuron = self._synapses(name, module), module.params
        if isinstance(module, PLIF):  # a LIF neuron whose input current is divided by tau
            layer, neuron = layer.affine(1 / module.tau), replace(neuron, decay=1 - 1 / module.tau)
        self.open = replace(layer, neuron=neuron)
        self.spikes = True

    def _vote(self, name: str, module: nn.AvgPool1d) -> None:
        sizes = [_pair(size)[0] for size in (module.kernel_size, module.stride, module.padding)]
        if self.open is None or sizes != [sizes[0], sizes[0], 0] or self.open.outputs % sizes[0]:
            wanted = "means of as many outputs for each class, which do not overlap"
            raise InputError(f"network: expected {wanted}; got {module} ({name!r})")
        self.open = replace(self.open, votes=sizes[0])

    def _synapses(self, name: str, module: nn.Module) -> Layer:
        if self.open is None or self.spikes:
            raise InputError(f"network: expected synapses before {name!r}, {type(module).__name__}; got something else")
        return self.open

    def _dropout(self, name: str, module: Dropout) -> None:
        if module.p == 0:
            return
        if not self.spikes or self.dropout:
            raise InputError(f"network: expected dropout on spikes, once; got it elsewhere ({name!r})")
        self.dropout = Masks(name, module.p, module.mask == "per-step", pooled=self.pool > 1)

    def _pooling(self, name: str, module: nn.AvgPool2d | nn.MaxPool2d) -> None:
        sides = {*_pair(module.kernel_size), *_pair(module.stride)}
        plain = len(sides) == 1 and set(_pair(module.padding)) == {0} and not module.ceil_mode
        if isinstance(module, nn.MaxPool2d):
            plain = plain and set(_pair(module.dilation)) == {1} and not module.return_indices
        else:
            plain = plain and module.divisor_override is None
        if not plain or not self.spikes or self.pool != 1:
            wanted = "pooling of spikes, once, in squares that do not overlap"
            raise InputError(f"network: expected {wanted}; got {module} ({name!r})")
        (self.pool,) = sides
        self.pool_kind = "mean" if isinstance(module, nn.AvgPool2d) else "max"


def _pair(value: int | tuple[int, ...]) -> tuple[int, ...]:
    return value if isinstance(value, tuple) else (value, value)
