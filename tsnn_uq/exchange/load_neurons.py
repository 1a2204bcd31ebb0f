"""Build neurons from NIR nodes, discretized by Euler steps."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import nn

from tsnn_uq.checks import InputError
from tsnn_uq.exchange.discretization import decay_and_gain, float32_above
from tsnn_uq.neurons import LI, LIF, PLIF, LIFParameters, surrogate

__all__ = ["NEURONS"]


def _shared_value(node: Any, field: str) -> float:
    """The value of a field, which must be the same for all neurons of a node."""
    values = np.asarray(getattr(node, field), dtype=np.float64)
    if not values.size or not np.isfinite(values).all() or not np.allclose(values, values.flat[0], rtol=1e-6, atol=0):
        found = f"{values.min():g} to {values.max():g}" if values.size else "none"
        raise InputError(f"{field}: expected one finite number for all neurons of a node; got {found}")
    return float(values.flat[0])


def _relative_threshold(node: Any, leak: float) -> float:
    """The threshold relative to the reset potential, which must equal the resting potential."""
    reset = _shared_value(node, "v_reset")
    if not math.isclose(leak, reset, rel_tol=1e-6, abs_tol=1e-9):
        raise InputError(f"v_reset: expected the potential at rest, v_leak = {leak:g}; got {reset:g}")
    return _shared_value(node, "v_threshold") - reset


def _neurons(node: Any, decay: float, gain: float, threshold: float) -> nn.Module:
    """Create LIF neurons for a current with a gain: dividing the threshold by it gives the same spikes."""
    written = _exported_neurons(node, decay, gain, threshold)
    if written is not None:
        return written
    default = surrogate()
    sharpness = replace(default, alpha=default.alpha * gain)
    return LIF(LIFParameters(decay=decay, threshold=float32_above(threshold / gain), reset="hard", surrogate=sharpness))


def _exported_neurons(node: Any, decay: float, gain: float, threshold: float) -> nn.Module | None:
    """Restore exactly the neurons that `to_nir` wrote; None if it did not, or if the node was changed since."""
    metadata = node.metadata
    if not {"decay", "threshold", "detach_reset", "surrogate", "alpha"} <= metadata.keys():
        return None
    params = LIFParameters(
        decay=float(metadata["decay"]),
        threshold=float(metadata["threshold"]),
        reset="hard",
        detach_reset=bool(metadata["detach_reset"]),
        surrogate=surrogate(str(metadata["surrogate"]), float(metadata["alpha"])),
    )
    learned = "a" in metadata  # PLIF neurons, which divide their current by tau
    expected = threshold if learned else threshold / gain
    if not (
        math.isclose(params.decay, decay, rel_tol=1e-6, abs_tol=1e-9)
        and math.isclose(params.threshold, expected, rel_tol=1e-6)
    ):
        return None
    if not learned:
        return LIF(params)
    neurons = PLIF(params)
    with torch.no_grad():
        neurons.a.fill_(float(metadata["a"]))
    return neurons


def _lif(node: Any, dt: float) -> nn.Module:
    decay, gain = decay_and_gain(_shared_value(node, "tau"), _shared_value(node, "r"), dt)
    return _neurons(node, decay, gain, _relative_threshold(node, _shared_value(node, "v_leak")))


def _if(node: Any, dt: float) -> nn.Module:
    decay, gain = decay_and_gain(math.inf, _shared_value(node, "r"), dt)
    return _neurons(node, decay, gain, _relative_threshold(node, _shared_value(node, "v_reset")))


def _cuba(node: Any, dt: float) -> tuple[float, float, float]:
    """Decay of the synapse, decay of the membrane, and the product of their gains."""
    w_in, r = _shared_value(node, "w_in"), _shared_value(node, "r")
    synapse, gain = decay_and_gain(_shared_value(node, "tau_syn"), w_in, dt)
    membrane, membrane_gain = decay_and_gain(_shared_value(node, "tau_mem"), r, dt)
    return synapse, membrane, gain * membrane_gain


def _cuba_lif(node: Any, dt: float) -> nn.Module:
    synapse, membrane, gain = _cuba(node, dt)
    threshold = _relative_threshold(node, _shared_value(node, "v_leak"))
    return nn.Sequential(LI(synapse), _neurons(node, membrane, gain, threshold))


def _check_zero_leak(node: Any) -> None:
    leak = _shared_value(node, "v_leak")
    if leak:
        raise InputError(f"v_leak: expected 0; got {leak:g}")


def _cuba_li(node: Any, dt: float) -> nn.Module:
    _check_zero_leak(node)
    synapse, membrane, gain = _cuba(node, dt)
    return nn.Sequential(LI(synapse), LI(membrane, gain))


def _li(node: Any, dt: float) -> nn.Module:
    _check_zero_leak(node)
    return LI(*decay_and_gain(_shared_value(node, "tau"), _shared_value(node, "r"), dt))


def _i(node: Any, dt: float) -> nn.Module:
    return LI(*decay_and_gain(math.inf, _shared_value(node, "r"), dt))


NEURONS: dict[str, Callable[[Any, float], nn.Module]] = {
    "IF": _if,
    "LIF": _lif,
    "CubaLIF": _cuba_lif,
    "I": _i,
    "LI": _li,
    "CubaLI": _cuba_li,
}
"""Functions that build neurons from a node and the time step, by the type of the node."""
