"""Export a network to a NIR graph, which other libraries can read."""

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
OMITTED = (Dropout, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.Identity)


def to_nir(network: nn.Module, input_shape: Sequence[int]) -> nir.NIRGraph:
    """Convert a network to a NIR graph, which Norse, snnTorch, SpikingJelly and others can read.

    The input of the graph is the encoded current. A leading `Coding`, dropout and dropconnect are left out of the graph
    and named in its metadata. BatchNorm is folded into the weights before it, and the mean of several outputs for each
    class becomes a linear layer. A `Gain` on the outputs becomes metadata: the logits are the mean over time of the
    graph's outputs, times ``readout_gain``.

    Neurons get r = 1 and the time constant that gives their decay in Euler steps of 0.0001 s (IF neurons r = 10000).
    Their gain is folded into the threshold, so weights are exported bit for bit. Codes and scales of ternary weights
    are in the metadata of their nodes. NIR neurons fire above the threshold and ours fire at it, so the exported
    threshold is the next smaller float32.

    Args:
        network: a Sequential of layers of `tsnn_uq.networks` and `tsnn_uq.neurons`, ternary or float, or a network
            from `from_nir`; it is not changed.
        input_shape: shape of one input at one step, such as (784,) or (1, 28, 28).

    Returns:
        The graph, whose nodes have the names of the layers. `write_nir` writes it to a file.

    Raises:
        InputError: a layer has no counterpart in NIR (neurons with soft reset, SRM neurons, maximum pooling), or `nir`
            is not installed.
    """
    import nir

    for size in input_shape:
        check_positive("input_shape", size, integer=True)
    left_out = [f"{name} {' '.join(repr(layer).split())}" for name, layer in stochastic_layers(network).items()]
    writer = _Writer(nir, tuple(input_shape))
    with torch.no_grad():
        for name, layer, wrapped in flat_layers(copy_at_rest(network).cpu().eval()):
            writer.add(name.removesuffix(".module") or "0", layer, wrapped)
    return writer.finish("; ".join(left_out))


@dataclass(frozen=True)
class _Synapses:
    """An exported linear layer or convolution: the name of its node, and what the node was made from."""

    name: str
    layer: nn.Linear | nn.Conv1d | nn.Conv2d
    weight: Tensor
    bias: Tensor | None
    input_shape: tuple[int, ...]


class _Writer:
    """Convert one layer after the other, tracking the shape of the data."""

    def __init__(self, package: Any, shape: tuple[int, ...]) -> None:
        self.nir = package
        self.shape = shape  # of one input at one step, after the layers so far
        self.nodes: dict[str, Any] = {"input": package.Input(np.array(shape))}
        self.metadata: dict[str, Any] = {
            "writer": f"tsnn_uq {__version__}",
            "dt": DT,
            "discretization": EQUATION,
            "input": "currents over time",
            "readout": "logits: mean of the outputs over time, times readout_gain if there is one",
        }
        self.synapses: _Synapses | None = None  # the last node if BatchNorm can be folded into it
        self.synapse: LI | None = None  # the last node if it is leaky integrators, which LIF neurons join

    def add(self, name: str, layer: nn.Module, wrapped: bool) -> None:
        """Convert the next layer; `wrapped` is whether it is inside an `OverTime`."""
        place = f"{type(layer).__name__} ({name!r})"
        if "readout_gain" in self.metadata:
            raise InputError(f"network: expected Gain as the last layer; got {place} after it")
        if isinstance(layer, Coding) and len(self.nodes) == 1:
            self.metadata["input"] = f"currents over time, as given by {layer}"
            self.metadata |= {"coding": layer.kind, "steps": layer.steps, "coding_gain": float(layer.gain)}
        elif isinstance(layer, Gain):
            self.metadata["readout_gain"] = float(layer.gain)
        elif isinstance(layer, LIF | PLIF | LI):
            self._neurons(name, layer, place)
        elif isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
            self._batch_norm(layer, place)
        elif not isinstance(layer, OMITTED):
            self._layer(name, layer, wrapped, place)

    def finish(self, left_out: str) -> Any:
        """Build the graph of all layers added."""
        if len(self.nodes) == 1:
            raise InputError("network: expected at least one layer that NIR supports; got none")
        if left_out:
            self.metadata["left_out"] = left_out
        names = list(self.nodes)
        self._add("output", self.nir.Output(np.array(self.shape)))
        edges = list(zip(names, list(self.nodes)[1:], strict=True))
        try:
            return self.nir.NIRGraph(self.nodes, edges, self.metadata)
        except ValueError as error:  # nir compares the shapes of neighbours
            raise InputError(f"network: expected layers of matching shapes; {last_line(error)}") from error

    def _add(self, name: str, node: Any) -> str:
        while name in self.nodes:
            name += "_"
        self.nodes[name] = node
        self.synapses = self.synapse = None
        return name

    def _output_shape(self, layer: nn.Module, wrapped: bool, place: str) -> tuple[int, ...]:
        """Find the shape of a layer's outputs by running it."""
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
            self.shape = self._output_shape(layer, wrapped, place)
            written = _Synapses(name, layer, layer.weight, layer.bias, before)
            written = replace(written, name=self._add(name, self._weight_node(written)))
            self.synapses = written
        elif isinstance(layer, nn.Flatten):
            self.shape = self._output_shape(layer, wrapped, place)
            if self.shape != before:
                self._add(name, self._flatten(layer, 1 if wrapped else 2, before, place))
        elif isinstance(layer, nn.AvgPool2d):
            self.shape = self._output_shape(layer, wrapped, place)
            self._add(name, self._pool(layer, before, place))
        elif isinstance(layer, nn.AvgPool1d) and len(before) == 1:
            self.shape = self._output_shape(layer, wrapped, place)
            weight = vote_weight(layer, before[0])
            self._add(name, self.nir.Linear(weight.numpy(), metadata={"votes": np.ravel(layer.kernel_size)[0]}))
        else:
            hint = ""
            if isinstance(layer, MAXIMUM_POOLS):
                hint = "; NIR has no maximum pooling: train with average pooling"
            elif isinstance(layer, SRM):
                hint = "; NIR has no spike response: train with LIF neurons"
            raise InputError(f"network: expected layers that NIR supports; got {place}{hint}")

    def _neurons(self, name: str, layer: LIF | PLIF | LI, place: str) -> None:
        node = neuron_node(self.nir, layer, self.shape, self.synapse, place)
        if isinstance(node, self.nir.CubaLIF):  # it includes the leaky integrators before it
            self.nodes.popitem()
        self._add(name, node)
        self.synapse = layer if isinstance(layer, LI) else None

    def _batch_norm(self, layer: nn.BatchNorm1d | nn.BatchNorm2d, place: str) -> None:
        if self.synapses is None or layer.running_mean is None:
            wanted = "BatchNorm with running statistics right after a linear layer or convolution"
            raise InputError(f"network: expected {wanted}, to fold it; got {place} elsewhere or without statistics")
        written = self.synapses
        if len(layer.running_mean) != len(written.weight):
            raise InputError(f"network: expected BatchNorm of {len(written.weight)} channels; got {place}")
        bias = None if written.bias is None else written.bias.double()
        norm = copy.deepcopy(layer).double()
        statistics: Any = norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
        # This works for linear layers as well, since output channels are the first axis of both weights.
        folded = fuse_conv_bn_weights(written.weight.double(), bias, *statistics)
        weight, bias = (x.to(written.weight.dtype) for x in folded)
        self.nodes[written.name] = self._weight_node(replace(written, weight=weight, bias=bias))
        self.synapses = None

    def _weight_node(self, written: _Synapses) -> Any:
        """Create the node of a linear layer or convolution, with codes and scales in its metadata if it is ternary."""
        layer: Any = written.layer
        weight = written.weight.detach()
        parts = ternary_parts(weight)
        metadata = {} if parts is None else {"codes": parts[0].numpy(), "scale": parts[1].numpy()}
        bias = None if written.bias is None else written.bias.detach().numpy()
        if isinstance(layer, nn.Linear):
            if bias is None:
                return self.nir.Linear(weight.numpy(), metadata=metadata)
            return self.nir.Affine(weight.numpy(), bias, metadata=metadata)
        kind, one_axis = (self.nir.Conv2d, False) if isinstance(layer, nn.Conv2d) else (self.nir.Conv1d, True)
        node = kind(
            input_shape=written.input_shape[-1] if one_axis else written.input_shape[1:],
            weight=weight.numpy(),
            stride=layer.stride[0] if one_axis else layer.stride,
            padding=layer.padding[0] if one_axis and not isinstance(layer.padding, str) else layer.padding,
            dilation=layer.dilation[0] if one_axis else layer.dilation,
            groups=layer.groups,
            bias=weight.new_zeros(len(weight)).numpy() if bias is None else bias,
            metadata=metadata,
        )
        return self._with_shapes(node, written.input_shape)

    def _with_shapes(self, node: Any, before: tuple[int, ...]) -> Any:
        """Set the shapes of a node, which nir itself infers wrongly for groups and for kernels that are not square."""
        node.input_type, node.output_type = {"input": np.array(before)}, {"output": np.array(self.shape)}
        return node

    def _flatten(self, layer: nn.Flatten, leading: int, before: tuple[int, ...], place: str) -> Any:
        """Create a Flatten node with axes counted from the end, which mean the same with and without a batch axis."""
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
        return self._with_shapes(kind(kernel, stride, padding), before)
