"""From a network of ours to a graph of NIR, which other libraries read."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from tsnn_uq import __version__
from tsnn_uq.checks import InputError, check_positive, last_line
from tsnn_uq.coding import Coding
from tsnn_uq.exchange.class_means import vote_weight
from tsnn_uq.exchange.discretization import DT, EQUATION
from tsnn_uq.exchange.export_neurons import neuron_node
from tsnn_uq.networks import OverTime, flat_layers
from tsnn_uq.neurons import LI, LIF, PLIF, SRM
from tsnn_uq.quantization.rules import ternary_parts
from tsnn_uq.readout import Gain
from tsnn_uq.state import copy_at_rest
from tsnn_uq.uncertainty import Dropout, stochastic_layers

if TYPE_CHECKING:
    import nir

__all__ = ["to_nir"]

MAXIMUM_POOLS = (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d)
LEFT_OUT = (Dropout, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.Identity)


def to_nir(network: nn.Module, input_shape: Sequence[int]) -> nir.NIRGraph:
    """Write a network as a graph of NIR, for Norse, snnTorch, SpikingJelly and others to read.

    The graph takes the coded current: a `Coding` in front is left out, and named in the metadata. So are dropout and
    dropconnect. BatchNorm is folded into the weights before it, votes become a linear layer, and a `Gain` on the
    outputs is metadata: the logits are the mean over time of the graph's outputs times ``readout_gain``.

    Neurons get r = 1 and the time constant that gives their decay in Euler steps of 0.0001 s (IF neurons r = 10000);
    their gain goes into the threshold. So weights stay bit for bit what they are, ternary ones scale * code: both are
    in the metadata of their nodes. Thresholds are the float32 below ours, since NIR fires above and ours fire at it.

    Args:
        network: a Sequential of the layers of `tsnn_uq.networks` and `tsnn_uq.neurons`, ternary or float, perhaps from
            `from_nir`; it is not changed.
        input_shape: shape of one input at one step, such as (784,) or (1, 28, 28).

    Returns:
        The graph; nodes have the names of the layers. `write_nir` makes a file of it.

    Raises:
        InputError: names the first layer that NIR cannot say: neurons with soft reset, SRM neurons, maximum pooling;
            or `nir` is not installed.
    """
    import nir

    for size in input_shape:
        check_positive("input_shape", size, integer=True)
    left_out = [f"{name} {' '.join(repr(layer).split())}" for name, layer in stochastic_layers(network).items()]
    writer = _Writer(nir, tuple(input_shape))
    with torch.no_grad():
        for name, layer, wrapped in flat_layers(copy_at_rest(network).cpu().eval()):
            writer.take(name.removesuffix(".module") or "0", layer, wrapped)
    return writer.finish("; ".join(left_out))


@dataclass(frozen=True)
class _Synapses:
    """A linear layer or convolution that has been written, and what it was written from."""

    name: str
    layer: nn.Linear | nn.Conv1d | nn.Conv2d
    weight: Tensor
    bias: Tensor | None
    before: tuple[int, ...]


class _Writer:
    """Goes through the layers with the shape of the data and the nodes so far."""

    def __init__(self, package: Any, shape: tuple[int, ...]) -> None:
        self.nir = package
        self.shape = shape  # of one input at one step
        self.nodes: dict[str, Any] = {"input": package.Input(np.array(shape))}
        self.metadata: dict[str, Any] = {
            "writer": f"tsnn_uq {__version__}",
            "dt": DT,
            "discretization": EQUATION,
            "input": "currents over time",
            "readout": "logits: mean of the outputs over time, times readout_gain if there is one",
        }
        self.synapses: _Synapses | None = None  # what a BatchNorm may follow
        self.synapse: LI | None = None  # what LIF neurons may follow

    def take(self, name: str, layer: nn.Module, wrapped: bool) -> None:
        """Write the next layer; `wrapped` is whether it is inside an `OverTime`."""
        place = f"{type(layer).__name__} ({name!r})"
        if "readout_gain" in self.metadata:
            raise InputError(f"network: expected Gain as the last layer; got {place} behind it")
        if isinstance(layer, Coding) and len(self.nodes) == 1:
            self.metadata["input"] = f"currents over time, as given by {layer}"
            self.metadata |= {"coding": layer.kind, "steps": layer.steps, "coding_gain": float(layer.gain)}
        elif isinstance(layer, Gain):
            self.metadata["readout_gain"] = float(layer.gain)
        elif isinstance(layer, LIF | PLIF | LI):
            self._neurons(name, layer, place)
        elif isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
            self._batch_norm(layer, place)
        elif not isinstance(layer, LEFT_OUT):
            self._layer(name, layer, wrapped, place)

    def finish(self, left_out: str) -> Any:
        """The graph of all layers taken."""
        if len(self.nodes) == 1:
            raise InputError("network: expected at least one layer that NIR has; got none")
        if left_out:
            self.metadata["left_out"] = left_out
        names = list(self.nodes)
        self._add("output", self.nir.Output(np.array(self.shape)))
        edges = list(zip(names, list(self.nodes)[1:], strict=True))
        try:
            return self.nir.NIRGraph(self.nodes, edges, self.metadata)
        except ValueError as error:  # nir compares the shapes of neighbours
            raise InputError(f"network: expected layers that follow each other in NIR; {last_line(error)}") from error

    def _add(self, name: str, node: Any) -> str:
        while name in self.nodes:
            name += "_"
        self.nodes[name] = node
        self.synapses = self.synapse = None
        return name

    def _after(self, layer: nn.Module, wrapped: bool, place: str) -> tuple[int, ...]:
        """Shape of the outputs of a layer, by a trial."""
        weight = getattr(layer, "weight", None)
        inputs = torch.zeros(1, 1, *self.shape, dtype=None if weight is None else weight.dtype)
        try:
            return tuple((OverTime(layer) if wrapped else layer)(inputs).shape[2:])
        except (RuntimeError, ValueError) as error:
            wanted = f"a layer that takes inputs of shape {list(self.shape)}"
            raise InputError(f"network: expected {wanted}; got {place}: {last_line(error)}") from error

    def _layer(self, name: str, layer: nn.Module, wrapped: bool, place: str) -> None:
        before = self.shape
        if isinstance(layer, nn.Linear | nn.Conv1d | nn.Conv2d):
            if isinstance(layer, nn.Conv1d | nn.Conv2d) and layer.padding_mode != "zeros":
                raise InputError(f"network: expected convolutions padded with zeros; got {layer} ({name!r})")
            self.shape = self._after(layer, wrapped, place)
            written = _Synapses(name, layer, layer.weight, layer.bias, before)
            written = replace(written, name=self._add(name, self._weighted(written)))
            self.synapses = written
        elif isinstance(layer, nn.Flatten):
            self.shape = self._after(layer, wrapped, place)
            if self.shape != before:
                self._add(name, self._flatten(layer, 1 if wrapped else 2, before, place))
        elif isinstance(layer, nn.AvgPool2d):
            self.shape = self._after(layer, wrapped, place)
            self._add(name, self._pool(layer, before, place))
        elif isinstance(layer, nn.AvgPool1d) and len(before) == 1:
            self.shape = self._after(layer, wrapped, place)
            weight = vote_weight(layer, before[0])
            self._add(name, self.nir.Linear(weight.numpy(), metadata={"votes": np.ravel(layer.kernel_size)[0]}))
        else:
            hint = ""
            if isinstance(layer, MAXIMUM_POOLS):
                hint = "; NIR has no maximum pooling: train with average pooling"
            elif isinstance(layer, SRM):
                hint = "; NIR has no spike response: train with LIF neurons"
            raise InputError(f"network: expected layers that NIR has; got {place}{hint}")

    def _neurons(self, name: str, layer: LIF | PLIF | LI, place: str) -> None:
        node = neuron_node(self.nir, layer, self.shape, self.synapse, place)
        if isinstance(node, self.nir.CubaLIF):  # of the synapse before it as well
            self.nodes.popitem()
        self._add(name, node)
        self.synapse = layer if isinstance(layer, LI) else None

    def _batch_norm(self, layer: nn.BatchNorm1d | nn.BatchNorm2d, place: str) -> None:
        if self.synapses is None or layer.running_mean is None:
            wanted = "BatchNorm with running statistics right behind a linear layer or a convolution"
            raise InputError(f"network: expected {wanted}, to be folded into it; got {place} elsewhere or without")
        written = self.synapses
        if len(layer.running_mean) != len(written.weight):
            raise InputError(f"network: expected BatchNorm of {len(written.weight)} channels; got {place}")
        bias = None if written.bias is None else written.bias.double()
        norm = copy.deepcopy(layer).double()
        statistics: Any = norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
        # Of a linear layer's weights too, whose channels are their first axis as well.
        folded = fuse_conv_bn_weights(written.weight.double(), bias, *statistics)
        weight, bias = (x.to(written.weight.dtype) for x in folded)
        self.nodes[written.name] = self._weighted(replace(written, weight=weight, bias=bias))
        self.synapses = None

    def _weighted(self, written: _Synapses) -> Any:
        """The node of a linear layer or convolution, codes and scales in its metadata if it is ternary."""
        layer: Any = written.layer
        weight = written.weight.detach()
        parts = ternary_parts(weight)
        metadata = {} if parts is None else {"codes": parts[0].numpy(), "scale": parts[1].numpy()}
        bias = None if written.bias is None else written.bias.detach().numpy()
        if isinstance(layer, nn.Linear):
            if bias is None:
                return self.nir.Linear(weight.numpy(), metadata=metadata)
            return self.nir.Affine(weight.numpy(), bias, metadata=metadata)
        kind, one = (self.nir.Conv2d, False) if isinstance(layer, nn.Conv2d) else (self.nir.Conv1d, True)
        node = kind(
            input_shape=written.before[-1] if one else written.before[1:],
            weight=weight.numpy(),
            stride=layer.stride[0] if one else layer.stride,
            padding=layer.padding[0] if one and not isinstance(layer.padding, str) else layer.padding,
            dilation=layer.dilation[0] if one else layer.dilation,
            groups=layer.groups,
            bias=weight.new_zeros(len(weight)).numpy() if bias is None else bias,
            metadata=metadata,
        )
        return self._typed(node, written.before)

    def _typed(self, node: Any, before: tuple[int, ...]) -> Any:
        """A node with its shapes, which nir itself gets wrong for groups and for kernels that are not square."""
        node.input_type, node.output_type = {"input": np.array(before)}, {"output": np.array(self.shape)}
        return node

    def _flatten(self, layer: nn.Flatten, leading: int, before: tuple[int, ...], place: str) -> Any:
        """Axes are counted from the end, where readers that have a batch axis and those that have none agree."""
        axes = len(before)
        start, end = (dim if dim < 0 else dim - leading - axes for dim in (layer.start_dim, layer.end_dim))
        if not -axes <= start <= end < 0:
            raise InputError(f"network: expected Flatten of all but time and batch; got {place}: {layer}")
        return self.nir.Flatten(input_type=np.array(before), start_dim=start, end_dim=end)

    def _pool(self, layer: nn.AvgPool2d, before: tuple[int, ...], place: str) -> Any:
        sizes = layer.kernel_size, layer.stride, layer.padding
        kernel, stride, padding = (np.broadcast_to(size, 2).copy() for size in sizes)
        padded = padding.any() and not layer.count_include_pad
        if layer.ceil_mode or padded or layer.divisor_override not in (None, 1):
            wanted = "average pooling of whole windows, padding counted, or sums (divisor_override=1)"
            raise InputError(f"network: expected {wanted}; got {place}: {layer}")
        kind = self.nir.AvgPool2d if layer.divisor_override is None else self.nir.SumPool2d
        return self._typed(kind(kernel, stride, padding), before)
