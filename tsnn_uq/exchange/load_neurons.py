"""Neurons of NIR as ours, by Euler steps."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import nn

from tsnn_uq.checks import InputError
from tsnn_uq.exchange.discretization import above, decay_and_gain
from tsnn_uq.neurons import LI, LIF, PLIF, LIFParameters, surrogate

__all__ = ["NEURONS"]


def _number(node: Any, field: str) -> float:
    """The value that all neurons of a node share."""
    values = np.asarray(getattr(node, field), dtype=np.float64)
    if not values.size or not np.isfinite(values).all() or not np.allclose(values, values.flat[0], rtol=1e-6, atol=0):
        found = f"{values.min():g} to {values.max():g}" if values.size else "none"
        raise InputError(f"{field}: expected one finite number for all neurons of a node; got {found}")
    return float(values.flat[0])


def _reset_to_rest(node: Any, leak: float) -> float:
    """The threshold above the potential to which neurons are reset, which has to be where they rest."""
    reset = _number(node, "v_reset")
    if not math.isclose(leak, reset, rel_tol=1e-6, abs_tol=1e-9):
        raise InputError(f"v_reset: expected the potential at rest, v_leak = {leak:g}; got {reset:g}")
    return _number(node, "v_threshold") - reset


def _neurons(node: Any, decay: float, gain: float, threshold: float) -> nn.Module:
    """LIF neurons whose current has a gain: they fire the same spikes as with the threshold divided by it."""
    written = _written(node, decay, gain, threshold)
    if written is not None:
        return written
    default = surrogate()
    sharpness = replace(default, alpha=default.alpha * gain)
    return LIF(LIFParameters(decay=decay, threshold=above(threshold / gain), reset="hard", surrogate=sharpness))


def _written(node: Any, decay: float, gain: float, threshold: float) -> nn.Module | None:
    """The very neurons that `to_nir` wrote, unless somebody has changed the node since."""
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
    learned = "a" in metadata  # PLIF neurons divide their current by tau themselves
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
    decay, gain = decay_and_gain(_number(node, "tau"), _number(node, "r"), dt)
    return _neurons(node, decay, gain, _reset_to_rest(node, _number(node, "v_leak")))


def _if(node: Any, dt: float) -> nn.Module:
    decay, gain = decay_and_gain(math.inf, _number(node, "r"), dt)
    return _neurons(node, decay, gain, _reset_to_rest(node, _number(node, "v_reset")))


def _cuba(node: Any, dt: float) -> tuple[float, float, float]:
    """Decays of the synapse's current and of the membrane, and the gain of both."""
    w_in, r = _number(node, "w_in"), _number(node, "r")
    synapse, gain = decay_and_gain(_number(node, "tau_syn"), w_in, dt)
    membrane, membrane_gain = decay_and_gain(_number(node, "tau_mem"), r, dt)
    return synapse, membrane, gain * membrane_gain


def _cuba_lif(node: Any, dt: float) -> nn.Module:
    synapse, membrane, gain = _cuba(node, dt)
    threshold = _reset_to_rest(node, _number(node, "v_leak"))
    return nn.Sequential(LI(synapse), _neurons(node, membrane, gain, threshold))


def _at_zero(node: Any) -> None:
    leak = _number(node, "v_leak")
    if leak:
        raise InputError(f"v_leak: expected 0; got {leak:g}")


def _cuba_li(node: Any, dt: float) -> nn.Module:
    _at_zero(node)
    synapse, membrane, gain = _cuba(node, dt)
    return nn.Sequential(LI(synapse), LI(membrane, gain))


def _li(node: Any, dt: float) -> nn.Module:
    _at_zero(node)
    return LI(*decay_and_gain(_number(node, "tau"), _number(node, "r"), dt))


def _i(node: Any, dt: float) -> nn.Module:
    return LI(*decay_and_gain(math.inf, _number(node, "r"), dt))


NEURONS: dict[str, Callable[[Any, float], nn.Module]] = {
    "IF": _if,
    "LIF": _lif,
    "CubaLIF": _cuba_lif,
    "I": _i,
    "LI": _li,
    "CubaLI": _cuba_li,
}
"""For each kind of node, what builds neurons from it and the time step."""
