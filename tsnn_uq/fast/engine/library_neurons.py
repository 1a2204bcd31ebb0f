"""Read neurons and dropout of snnTorch and SpikingJelly for the engine."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from tsnn_uq.checks import InputError
from tsnn_uq.neurons import LIF, PLIF, LIFParameters
from tsnn_uq.state import is_instance_of

__all__ = ["Neurons", "is_foreign_dropout", "read_neurons"]

SPIKINGJELLY = "spikingjelly.activation_based.neuron"
KINDS = ("IFNode", "LIFNode", "ParametricLIFNode")


@dataclass(frozen=True)
class Neurons:
    """LIF neurons with h[t] = decay v[t-1] + factor x[t], a spike if h >= threshold, and a reset after it.

    Attributes:
        params: decay, threshold and reset.
        factor: factor on the current.
        delayed_reset: subtracted from h one step after a spike, instead of the reset of `params`; 0 for none.
    """

    params: LIFParameters
    factor: float = 1.0
    delayed_reset: float = 0.0


def is_foreign_dropout(module: nn.Module) -> bool:
    """Whether a module is the elementwise dropout of torch or SpikingJelly."""
    spikingjelly = is_instance_of(module, "spikingjelly.activation_based.layer.dropout", "Dropout")
    return type(module) is nn.Dropout or (spikingjelly and type(module).__name__ == "Dropout")


def read_neurons(name: str, module: nn.Module) -> Neurons:
    """Convert a layer of neurons to the engine's LIF neurons.

    Raises:
        InputError: the engine does not support the dynamics of the neurons.
    """
    if isinstance(module, PLIF):  # a LIF neuron whose input current is divided by tau
        decay = 1 - 1 / module.tau
        return Neurons(LIFParameters(decay, module.params.threshold, module.params.reset), 1 / module.tau)
    if isinstance(module, LIF):
        return Neurons(module.params)
    kind = type(module).__name__
    if kind == "Leaky" and is_instance_of(module, "snntorch", "Leaky"):
        return _leaky(name, module)
    if kind in KINDS and is_instance_of(module, SPIKINGJELLY, kind):
        return _node(name, kind, module)
    known = f"LIF and PLIF neurons, snnTorch's Leaky, SpikingJelly's {', '.join(KINDS)}"
    raise InputError(f"network: expected {known}; got {kind} ({name!r})")


def _leaky(name: str, module: Any) -> Neurons:
    """Read snnTorch's Leaky, which fires above its threshold and resets at the next step.

    A reset to zero commutes with the decay, so it can happen at once. The subtraction of a threshold does not commute.
    """
    unsupported = [
        *(["init_hidden=False"] if not module.init_hidden or module.output else []),
        *(["inhibition=True"] if module.inhibition else []),
        *(["state_quant"] if module.state_quant else []),
        *(["graded_spikes_factor"] if not bool((torch.as_tensor(module.graded_spikes_factor) == 1).all()) else []),
    ]
    mechanism = module.reset_mechanism
    if mechanism == "none" or (mechanism == "subtract" and not module.reset_delay):
        unsupported.append(f"reset_mechanism={mechanism!r}, reset_delay={module.reset_delay}")
    if unsupported:
        wanted = "Leaky with init_hidden=True and output=False, reset to zero or by a delayed subtraction"
        raise InputError(f"network: expected {wanted}; got {', '.join(unsupported)} ({name!r})")
    decay = min(1.0, max(0.0, _common_value(name, "beta", module.beta)))
    threshold = _common_value(name, "threshold", module.threshold)
    above = float(np.nextafter(np.float32(threshold), np.float32(math.inf)))
    if mechanism == "zero":
        return Neurons(LIFParameters(decay, above, "hard"))
    return Neurons(LIFParameters(decay, above, "soft"), delayed_reset=threshold)


def _node(name: str, kind: str, module: Any) -> Neurons:
    """Read SpikingJelly's IF, LIF and PLIF neurons, with potentials relative to the reset potential."""
    decay, factor = 1.0, 1.0
    if kind != "IFNode":
        rate = float(module.w.detach().double().sigmoid()) if kind == "ParametricLIFNode" else 1 / float(module.tau)
        decay, factor = 1 - rate, rate if module.decay_input else 1.0
    threshold = float(module.v_threshold) - float(module.v_reset or 0.0)
    if threshold <= 0:
        raise InputError(f"network: expected a threshold above the reset; got {module} ({name!r})")
    return Neurons(LIFParameters(decay, threshold, "soft" if module.v_reset is None else "hard"), factor)


def _common_value(name: str, field: str, value: Any) -> float:
    """The value of a parameter that must be the same for all neurons of a layer."""
    numbers = torch.as_tensor(value).detach().flatten()
    if not numbers.numel() or not bool((numbers == numbers[0]).all()):
        raise InputError(f"network: expected one {field} for all neurons of a layer; got several ({name!r})")
    return float(numbers[0])
