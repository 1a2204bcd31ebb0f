"""How a neuron of NIR, which lives in continuous time, becomes one that goes by steps.

NIR states differential equations and leaves the time step to the reader. Norse, snnTorch and SpikingJelly take Euler
steps of length dt, in which tau dv/dt = (v_leak - v) + r I becomes, for v_leak = 0,

    h[t] = (1 - dt / tau) v[t-1] + (r dt / tau) I[t]

This is our LIF neuron of decay 1 - dt / tau, whose current has a gain of r dt / tau. NIR fires above the threshold and
ours fire at it, so thresholds move by one unit in the last place of float32, the precision of the weights.
"""

from __future__ import annotations

import numpy as np

from tsnn_uq.checks import InputError, check_positive

__all__ = ["DT", "EQUATION", "above", "below", "decay_and_gain", "time_constant"]

DT = 1e-4
"""The time step in seconds of graphs that do not name theirs: snnTorch has no other, for SpikingJelly it is usual."""

EQUATION = (
    "Euler steps of dt seconds: h[t] = v[t-1] + dt / tau (v_leak - v[t-1] + r I[t]) for LIF, h[t] = v[t-1] + dt r I[t] "
    "for IF; a spike where h > v_threshold, and then v[t] = v_reset, else v[t] = h[t]"
)


def decay_and_gain(tau: float, r: float, dt: float) -> tuple[float, float]:
    """Decay 1 - dt / tau and gain r dt / tau of an Euler step; an infinite `tau` is that of ``"IF"``, with gain r dt.

    Raises:
        InputError: `tau` is shorter than the step, or `r` is not positive.
    """
    check_positive("r", r)
    if tau < dt * (1 - 1e-6):
        raise InputError(f"tau: expected at least the time step of {dt:g} s; got {tau:g} (pass the graph's own dt)")
    if np.isinf(tau):
        return 1.0, r * dt
    return max(0.0, 1 - dt / tau), r * dt / tau


def time_constant(decay: float) -> float:
    """The time constant in seconds that gives a decay below 1 at the time step `DT`."""
    return DT / (1 - decay)


def below(threshold: float) -> float:
    """The float32 below a threshold: what is above it is at the threshold, as float32 has it.

    Example:
        >>> below(0.75), above(below(0.75))
        (0.7499999403953552, 0.75)
    """
    return float(np.nextafter(np.float32(threshold), np.float32(-np.inf)))


def above(threshold: float) -> float:
    """The float32 above a threshold: what is at it is above the threshold, as float32 has it."""
    return float(np.nextafter(np.float32(threshold), np.float32(np.inf)))
