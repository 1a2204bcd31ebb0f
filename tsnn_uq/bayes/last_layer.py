r"""Find the last layer of a network, and the features in which its logits are linear.

Logits may be the layer's outputs at one step, or their mean, their sum or another weighted sum over steps and calls,

.. math:: \text{logits}_n = \sum_k a_{kn} (W x_{kn} + b) = W \phi_n + \kappa_n b,

with features :math:`\phi_n = \sum_k a_{kn} x_{kn}` and :math:`\kappa_n = \sum_k a_{kn}`. The weights a are gradients of
the logits with respect to the layer's outputs, from one backward pass through the part after the layer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from tsnn_uq.checks import InputError
from tsnn_uq.coding import unpack_spikes
from tsnn_uq.quantization import select_layers
from tsnn_uq.readout import logits
from tsnn_uq.state import rest

__all__ = ["features_and_logits", "last_layer"]

Call = Callable[[], Tensor]
"""Runs a network and returns its outputs [T, N, C] or [N, C]."""


def last_layer(network: nn.Module, call: Call, name: str | None = None) -> str:
    """Name of the linear layer whose outputs are combined to the logits.

    Args:
        network: any network in evaluation mode.
        call: runs it on some inputs.
        name: the layer, if known; it is validated.

    Raises:
        InputError: there is no layer of that name; or, without a name, there are none or several such layers.
    """
    if name is not None:
        (layer,) = select_layers(network, [name]).values()
        if not isinstance(layer, nn.Linear):
            raise InputError(f"layer: expected a fully connected layer; {name!r} is a {type(layer).__name__}")
        return name
    layers = select_layers(network, "fc")
    outputs, seen = _run(network, layers, call)
    found = [
        name for name in layers if any(slope is not None and slope.any() for slope in _gradients(outputs, seen[name]))
    ]
    if len(found) != 1:
        names = ", ".join(found or layers)
        problem = f"logits that depend on several: {names}" if found else f"logits that depend on none of {names}"
        raise InputError(f"network: expected logits from one linear layer; got {problem} (set layer=)")
    return found[0]


def features_and_logits(network: nn.Module, name: str, call: Call) -> tuple[Tensor, Tensor]:
    """Features [N, d] of the inputs and logits [N, C], float64.

    If the layer has a bias, its factor is the last feature.

    Args:
        network: a network in evaluation mode.
        name: its last layer.
        call: runs it on N inputs.

    Raises:
        InputError: the logits are not a weighted sum of the layer's outputs.
    """
    layer: Any = network.get_submodule(name)
    outputs, seen = _run(network, {name: layer}, call)
    calls = seen[name]
    for arrange in (_time_first, _inputs_first):
        features = _features(layer, outputs, calls, arrange)
        if features is not None:
            return features, outputs.detach().double()
    raise InputError(
        f"network: expected logits that are outputs of layer {name!r}, or their mean or sum over time; got others "
        f"(does a neuron or another nonlinear function follow?)"
    )


def _run(
    network: nn.Module, layers: Mapping[str, nn.Module], call: Call
) -> tuple[Tensor, dict[str, list[tuple[Tensor, Tensor]]]]:
    """Logits, and for each call of a layer its inputs and its outputs, detached from the graph before."""
    seen: dict[str, list[tuple[Tensor, Tensor]]] = {name: [] for name in layers}

    def cut(name: str) -> Callable[[nn.Module, Any, Tensor], Tensor]:
        def hook(_: nn.Module, given: Any, output: Tensor) -> Tensor:
            seen[name].append((given[0].detach(), output.detach().requires_grad_()))
            return seen[name][-1][1].clone()  # a clone, since it may be modified in place

        return hook

    learned = [parameter for parameter in network.parameters() if parameter.requires_grad]
    handles = [layer.register_forward_hook(cut(name)) for name, layer in layers.items()]
    try:
        for parameter in learned:
            parameter.requires_grad_(False)
        with torch.inference_mode(False), torch.enable_grad():
            rest(network)
            return logits(call()), seen
    finally:
        for handle in handles:
            handle.remove()
        for parameter in learned:
            parameter.requires_grad_(True)


def _gradients(outputs: Tensor, calls: list[tuple[Tensor, Tensor]]) -> tuple[Tensor | None, ...]:
    """Gradients of the sum over inputs and classes c of (c + 1) logit_c in the outputs of each call, or None."""
    if not outputs.requires_grad or not calls:
        return (None,) * len(calls)
    total = (outputs * _probe(outputs)).sum()
    return torch.autograd.grad(total, [output for _, output in calls], retain_graph=True, allow_unused=True)


def _probe(outputs: Tensor) -> Tensor:
    return torch.arange(1, outputs.shape[1] + 1, device=outputs.device).to(outputs.dtype)


def _features(
    layer: nn.Linear, outputs: Tensor, calls: list[tuple[Tensor, Tensor]], arrange: Callable[[Tensor, int], Tensor]
) -> Tensor | None:
    """Features [N, d] if logits are a weighted sum of the layer's outputs, which `arrange` brings to [k, N, ...]."""
    count, classes = outputs.shape
    probe = _probe(outputs).double()
    features = probe.new_zeros(count, layer.in_features + (layer.bias is not None))
    found, size = probe.new_zeros(outputs.shape), probe.new_zeros(outputs.shape)
    tolerance = _tolerance(outputs, *(output for _, output in calls))
    for (given, output), gradient in zip(calls, _gradients(outputs, calls), strict=True):
        if gradient is None:
            continue
        if output.shape[-1] != classes or output[..., 0].numel() % count:
            return None
        slope = arrange(gradient.double(), count)  # [k, N, C]
        weights = slope @ probe / probe.square().sum()
        if not torch.allclose(slope, weights.unsqueeze(-1) * probe, rtol=tolerance, atol=0):
            return None  # the weights differ between classes
        given = unpack_spikes(given, layer.in_features) if given.dtype == torch.uint8 else given
        inputs, values = (arrange(rows.detach().double(), count) for rows in (given, output))
        if layer.bias is not None:
            inputs = torch.cat([inputs, torch.ones_like(inputs[..., :1])], -1)
        features += torch.einsum("kn,knd->nd", weights, inputs)
        found += torch.einsum("kn,knc->nc", weights, values)
        size += torch.einsum("kn,knc->nc", weights.abs(), values.abs())
    return features if ((found - outputs.detach()).abs() <= tolerance * size).all() else None


def _time_first(rows: Tensor, count: int) -> Tensor:
    return rows.reshape(-1, count, rows.shape[-1])


def _inputs_first(rows: Tensor, count: int) -> Tensor:
    return rows.reshape(count, -1, rows.shape[-1]).transpose(0, 1)


def _tolerance(*values: Tensor) -> float:
    """Relative tolerance of a few rounding errors of sums, in the coarsest of the types."""
    return 16 * max(torch.finfo(value.dtype).eps for value in values)
