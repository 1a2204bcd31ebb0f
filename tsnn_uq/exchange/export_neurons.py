"""Convert neurons to NIR nodes. NIR has hard resets only; r = 1 wherever the unit of the potential is free."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from tsnn_uq.checks import InputError
from tsnn_uq.exchange.discretization import DT, float32_below, time_constant
from tsnn_uq.neurons import LI, LIF, PLIF, LIFParameters

__all__ = ["neuron_node"]


def neuron_node(nir: Any, layer: LIF | PLIF | LI, shape: tuple[int, ...], synapse: LI | None, place: str) -> Any:
    """Create the NIR node of a layer of neurons.

    Args:
        nir: the `nir` package.
        layer: the neurons.
        shape: shape of the neurons.
        synapse: leaky integrators right before LIF neurons; the two together become one CubaLIF node.
        place: name of the layer in error messages.

    Raises:
        InputError: the neurons have a soft reset.
    """
    if isinstance(layer, LI):
        return _leaky_integrators(nir, layer, shape)
    params = layer.params
    if params.reset != "hard":
        remedy = 'train with reset="hard"'
        raise InputError(f"network: expected a hard reset, as NIR has no other; got {place} with a soft one ({remedy})")
    rest = np.zeros(shape)
    if isinstance(layer, PLIF):  # NIR's own form: the current is divided by tau
        decay, threshold = 1 - 1 / layer.tau, float32_below(params.threshold)
        metadata = {**_exact_parameters(params, decay), "a": float(layer.a)}
        node = {"tau": layer.tau * DT, "r": 1.0, "v_threshold": threshold}
    elif params.decay == 1:
        node = {"r": 1 / DT, "v_threshold": float32_below(params.threshold)}
        return nir.IF(**_per_neuron(node, shape), v_reset=rest, metadata=_exact_parameters(params, 1.0))
    elif synapse is not None and synapse.decay < 1 and synapse.gain > 0:
        # The gain of the synapse is folded into the threshold, which rescales the potential.
        surrogate = replace(params.surrogate, alpha=params.surrogate.alpha * synapse.gain)
        params = replace(params, threshold=params.threshold / synapse.gain, surrogate=surrogate)
        tau, synaptic = time_constant(params.decay), time_constant(synapse.decay)
        node = {"tau_syn": synaptic, "w_in": synaptic / DT, "tau_mem": tau, "r": tau / DT}
        node["v_threshold"] = float32_below(params.threshold)
        exact = _exact_parameters(params, params.decay)
        return nir.CubaLIF(**_per_neuron(node, shape), v_leak=rest, v_reset=rest.copy(), metadata=exact)
    else:  # rescale the potential so that the gain of the current is 1 - decay, which means r = 1
        unit = 1 - params.decay
        node = {"tau": time_constant(params.decay), "r": 1.0, "v_threshold": float32_below(unit * params.threshold)}
        metadata = _exact_parameters(params, params.decay)
    return nir.LIF(**_per_neuron(node, shape), v_leak=rest, v_reset=rest.copy(), metadata=metadata)


def _leaky_integrators(nir: Any, layer: LI, shape: tuple[int, ...]) -> Any:
    if layer.decay == 1:
        return nir.I(**_per_neuron({"r": layer.gain / DT}, shape))
    node = {"tau": time_constant(layer.decay), "r": layer.gain / (1 - layer.decay), "v_leak": 0.0}
    return nir.LI(**_per_neuron(node, shape))


def _per_neuron(values: dict[str, float], shape: tuple[int, ...]) -> dict[str, Any]:
    """Repeat values for each neuron, as NIR stores them."""
    return {name: np.full(shape, value) for name, value in values.items()}


def _exact_parameters(params: LIFParameters, decay: float) -> dict[str, Any]:
    """Metadata: exact values that rounding would lose, and settings that NIR has no field for."""
    return {
        "decay": decay,
        "threshold": params.threshold,
        "detach_reset": params.detach_reset,
        "surrogate": params.surrogate.name,
        "alpha": params.surrogate.alpha,
    }
