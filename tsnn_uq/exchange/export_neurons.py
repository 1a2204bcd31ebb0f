"""Our neurons as nodes of NIR: hard reset only, with r = 1 wherever NIR leaves the choice."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from tsnn_uq.checks import InputError
from tsnn_uq.exchange.discretization import DT, below, time_constant
from tsnn_uq.neurons import LI, LIF, PLIF, LIFParameters

__all__ = ["neuron_node"]


def neuron_node(nir: Any, layer: LIF | PLIF | LI, shape: tuple[int, ...], synapse: LI | None, place: str) -> Any:
    """The node of a layer of neurons.

    Args:
        nir: the package.
        layer: the neurons.
        shape: of the neurons.
        synapse: leaky integrators right before LIF neurons, which make one CubaLIF with them.
        place: what errors call the layer.

    Raises:
        InputError: the neurons' reset is soft.
    """
    if isinstance(layer, LI):
        return _leaky_integrators(nir, layer, shape)
    params = layer.params
    if params.reset != "hard":
        remedy = 'train with reset="hard"'
        raise InputError(f"network: expected a hard reset, the only one of NIR; got {place} with a soft one ({remedy})")
    rest = np.zeros(shape)
    if isinstance(layer, PLIF):  # NIR's own form: the current is divided by tau
        decay, threshold = 1 - 1 / layer.tau, below(params.threshold)
        metadata = {**_exact(params, decay), "a": float(layer.a)}
        node = {"tau": layer.tau * DT, "r": 1.0, "v_threshold": threshold}
    elif params.decay == 1:
        node = {"r": 1 / DT, "v_threshold": below(params.threshold)}
        return nir.IF(**_everywhere(node, shape), v_reset=rest, metadata=_exact(params, 1.0))
    elif synapse is not None and synapse.decay < 1 and synapse.gain > 0:
        # A gain of the synapse goes into the threshold, too, and the potential is measured in another unit.
        surrogate = replace(params.surrogate, alpha=params.surrogate.alpha * synapse.gain)
        params = replace(params, threshold=params.threshold / synapse.gain, surrogate=surrogate)
        tau, synaptic = time_constant(params.decay), time_constant(synapse.decay)
        node = {"tau_syn": synaptic, "w_in": synaptic / DT, "tau_mem": tau, "r": tau / DT}
        node["v_threshold"] = below(params.threshold)
        exact = _exact(params, params.decay)
        return nir.CubaLIF(**_everywhere(node, shape), v_leak=rest, v_reset=rest.copy(), metadata=exact)
    else:  # the potential in units in which the current's gain is 1 - decay, as it is for r = 1
        unit = 1 - params.decay
        node = {"tau": time_constant(params.decay), "r": 1.0, "v_threshold": below(unit * params.threshold)}
        metadata = _exact(params, params.decay)
    return nir.LIF(**_everywhere(node, shape), v_leak=rest, v_reset=rest.copy(), metadata=metadata)


def _leaky_integrators(nir: Any, layer: LI, shape: tuple[int, ...]) -> Any:
    if layer.decay == 1:
        return nir.I(**_everywhere({"r": layer.gain / DT}, shape))
    node = {"tau": time_constant(layer.decay), "r": layer.gain / (1 - layer.decay), "v_leak": 0.0}
    return nir.LI(**_everywhere(node, shape))


def _everywhere(values: dict[str, float], shape: tuple[int, ...]) -> dict[str, Any]:
    """NIR has a value for each neuron."""
    return {name: np.full(shape, value) for name, value in values.items()}


def _exact(params: LIFParameters, decay: float) -> dict[str, Any]:
    """What rounding would lose, and what NIR has no place for."""
    return {
        "decay": decay,
        "threshold": params.threshold,
        "detach_reset": params.detach_reset,
        "surrogate": params.surrogate.name,
        "alpha": params.surrogate.alpha,
    }
