"""From a trained network to the engine's layers: BatchNorm folded, pooling and masks put where they act."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from tsnn_uq.checks import InputError, check_positive
from tsnn_uq.coding import Coding
from tsnn_uq.fast.engine.foreign import is_foreign_dropout, read_neurons
from tsnn_uq.fast.engine.layers import Layer, Masks, Window
from tsnn_uq.networks import flat_layers
from tsnn_uq.neurons import LIF, PLIF
from tsnn_uq.quantization.parametrizations import float_parameter, weight_steps
from tsnn_uq.readout import Gain
from tsnn_uq.state import is_foreign_neuron
from tsnn_uq.uncertainty import DropConnectLinear, Dropout, StochasticLayer
from tsnn_uq.uncertainty.conversion import CHILD, DroppedWeight
from tsnn_uq.uncertainty.foreign import mask_mode

__all__ = ["Program", "translate"]

OTHERS = "tsnn_uq.exchange.from_nir brings networks of other libraries over; mc_predict takes them as they are"
DROPCONNECT = DropConnectLinear | DroppedWeight
TIMELESS = nn.BatchNorm1d | nn.BatchNorm2d | nn.AvgPool1d | nn.AvgPool2d | nn.MaxPool2d


@dataclass(frozen=True)
class Program:
    """A network as the engine runs it: a coding of the input, and layers.

    Without a `coding`, the network takes currents over time [T, N, ...].
    """

    coding: Coding | None
    coding_name: str
    layers: tuple[Layer, ...]

    @property
    def random_input(self) -> bool:
        """Whether the coding draws spikes at random."""
        return self.coding is not None and self.coding.stochastic


def translate(network: nn.Module, input_shape: Sequence[int] | None = None) -> Program:
    """Translate a trained network: a Sequential of what `tsnn_uq.networks` and `tsnn_uq.neurons` have.

    That is: perhaps a Coding; then synapses (linear, dropconnect or convolution, ternary or float, with or without
    bias), each with BatchNorm and LIF or PLIF neurons behind it as wished, dropout on spikes, pooled ones too, mean or
    max pooling of spikes, Flatten; last, synapses whose currents are the outputs, or neurons and a Gain, before it
    perhaps means of as many outputs for each class. What knows no time stands in `OverTime`. Synapses may have the
    dropout or dropconnect of `tsnn_uq.uncertainty.make_stochastic`.

    A Sequential of snnTorch or SpikingJelly is read as it is: layers of torch or SpikingJelly, and the neurons of
    `tsnn_uq.fast.engine.foreign`.

    Args:
        network: the network; it is not changed.
        input_shape: channels, height and width of an image, for convolutions.

    Returns:
        The program, on the network's device.

    Raises:
        InputError: names the first module that the engine does not know or that stands where it cannot be.
    """
    modules = list(flat_layers(network))
    coding_name, first, _ = modules[0] if modules else ("", network, False)
    coding = first if isinstance(first, Coding) else None
    if coding is not None:
        modules = modules[1:]
    elif not isinstance(network, nn.Sequential):
        raise InputError(f"network: expected a Sequential; got {type(network).__name__} ({OTHERS})")
    foreign = any(is_foreign_neuron(module) for _, module, _ in modules)
    if foreign:  # whose other layers take one step at a time
        modules = [
            (name, module, wrapped or isinstance(module, TIMELESS | nn.Flatten)) for name, module, wrapped in modules
        ]
    walk = _Walk(_checked_shape(input_shape), foreign)
    for name, module, wrapped in modules:
        walk.take(name, module, wrapped)
    layers = walk.finish()
    if set(filter(_has_masks, network.modules())) - set(walk.random):
        raise InputError("network: expected random layers in the Sequential; got one inside a layer")
    if len(set(walk.random)) < len(walk.random):
        raise InputError("network: expected each random layer once, since its masks go by its name; got one twice")
    return Program(coding, coding_name, layers)


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
    foreign: bool  # whether the network is another library's
    done: list[Layer] = field(default_factory=list)
    open: Layer | None = None  # what BatchNorm and neurons may follow
    spikes: bool = False  # whether what comes next sees spikes
    pool: int = 1
    pool_kind: str = "mean"
    dropout: Masks | None = None
    random: list[nn.Module] = field(default_factory=list)  # modules whose masks are drawn

    @torch.no_grad()
    def take(self, name: str, module: nn.Module, wrapped: bool) -> None:
        """Take in the next module; `wrapped` is whether it stands in an `OverTime`."""
        place = f"{type(module).__name__} ({name!r})"
        if (isinstance(module, TIMELESS) and not wrapped) or (wrapped and isinstance(module, LIF | PLIF | Dropout)):
            raise InputError(f"network: expected BatchNorm and pooling, and only such, in an OverTime; got {place}")
        if self.open is not None and (self.open.gain != 1 or (self.open.votes > 1 and not isinstance(module, Gain))):
            raise InputError(f"network: expected Gain as the last layer; got {place} behind it")
        if isinstance(module, nn.Linear):
            self._linear(name, module)
        elif isinstance(module, nn.Conv2d):
            self._convolution(name, module)
        elif isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            self._batch_norm(name, module)
        elif isinstance(module, LIF | PLIF) or is_foreign_neuron(module):
            self._neurons(name, module)
        elif isinstance(module, Dropout):
            self._dropout(name, module, module.mask)
        elif self.foreign and is_foreign_dropout(module):
            self._dropout(name, module, mask_mode(module))
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
        weight = _weight(module).unflatten(1, (channels, *window.kernel)).permute(0, 2, 3, 1).flatten(1)
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
        self._open(name, module, window, _weight(module).permute(0, 2, 3, 1).flatten(1))

    def _window(self, channels: int, height: int, width: int, kernel: tuple[int, int]) -> Window:
        return Window(channels, height, width, kernel, pool=self.pool, pool_kind=self.pool_kind)

    def _open(self, name: str, module: nn.Linear | nn.Conv2d, window: Window, weight: Tensor) -> None:
        bias = weight.new_zeros(len(weight)) if module.bias is None else module.bias.detach()
        if isinstance(dropout := module._modules.get(CHILD), Dropout):  # put on by make_stochastic
            self.spikes = bool(self.done)
            self._dropout(f"{name}.{CHILD}", dropout, dropout.mask)
            self.spikes = False
        self.open = Layer.of(window, weight, bias, self.dropout, self._dropconnect(name, module))
        self.pool, self.dropout = 1, None

    def _dropconnect(self, name: str, module: nn.Module) -> Masks | None:
        """Masks on the weights: the layer's own, or those that make_stochastic put on."""
        steps = [(f"{name}.parametrizations.weight.{i}", step) for i, step in enumerate(weight_steps(module))]
        found = [
            (place, step) for place, step in [(name, module), *steps] if isinstance(step, DROPCONNECT) and step.p > 0
        ]
        for place, step in found:
            if getattr(step, "per_input", False) or step.mask != "fixed" or len(found) > 1:
                wanted = "dropconnect masks that are fixed over time and shared by the inputs"
                raise InputError(f"network: expected {wanted}; got {step} ({place!r})")
            self.random.append(step)
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
        self.open = layer.affine(factor, module.running_mean.double(), shift)

    def _neurons(self, name: str, module: nn.Module) -> None:
        neurons = read_neurons(name, module)
        layer = self._synapses(name, module).affine(neurons.factor)
        self.open = replace(layer, neuron=neurons.params, late=neurons.late)
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

    def _dropout(self, name: str, module: Any, mask: str) -> None:
        if module.p == 0:
            return
        if not self.spikes or self.dropout:
            raise InputError(f"network: expected dropout on spikes, once; got it elsewhere ({name!r})")
        self.dropout = Masks(name, module.p, mask == "per-step", pooled=self.pool > 1)
        self.random.append(module)

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


def _weight(module: nn.Linear | nn.Conv2d) -> Tensor:
    """The weight of a layer without what dropconnect drops."""
    steps, weight = weight_steps(module), float_parameter(module)
    if weight is None or not any(isinstance(step, DroppedWeight) for step in steps):
        return module.weight.detach()
    for step in steps:
        weight = weight if isinstance(step, DroppedWeight) else step(weight)
    return weight.detach()


def _pair(value: int | tuple[int, ...]) -> tuple[int, ...]:
    return value if isinstance(value, tuple) else (value, value)
