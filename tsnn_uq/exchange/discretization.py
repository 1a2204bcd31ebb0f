"""Discretize NIR's neurons, which are defined in continuous time.

NIR defines differential equations and leaves the time step to the reader. Norse, snnTorch and SpikingJelly take Euler
steps of length dt, in which tau dv/dt = (v_leak - v) + r I becomes, for v_leak = 0,

    h[t] = (1 - dt / tau) v[t-1] + (r dt / tau) I[t]

This is our LIF neuron with decay 1 - dt / tau, and a gain r dt / tau on its current. NIR's neurons fire above the
threshold and ours fire at it, so thresholds are shifted by one unit in the last place of float32, the precision of the
weights.
"""

from __future__ import annotations

import numpy as np

from tsnn_uq.checks import InputError, check_positive

__all__ = ["DT", "EQUATION", "decay_and_gain", "float32_above", "float32_below", "time_constant"]

DT = 1e-4
"""Default time step in seconds, for graphs without one: snnTorch always uses it, and SpikingJelly usually."""

EQUATION = (
    "Euler steps of dt seconds: h[t] = v[t-1] + dt / tau (v_leak - v[t-1] + r I[t]) for LIF, h[t] = v[t-1] + dt r I[t] "
    "for IF; a spike where h > v_threshold, and then v[t] = v_reset, else v[t] = h[t]"
)


def decay_and_gain(tau: float, r: float, dt: float) -> tuple[float, float]:
    """Decay 1 - dt / tau and gain r dt / tau of an Euler step; an infinite `tau` is for IF neurons, with gain r dt.

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


def float32_below(threshold: float) -> float:
    """The largest float32 below a threshold: float32 values above it are at least the threshold.

    Example:
        >>> float32_below(0.75), float32_above(float32_below(0.75))
        (0.7499999403953552, 0.75)
    """
    return float(np.nextafter(np.float32(threshold), np.float32(-np.inf)))


def float32_above(threshold: float) -> float:
    """The smallest float32 above a threshold: float32 values of at least this are above the threshold."""
    return float(np.nextafter(np.float32(threshold), np.float32(np.inf)))
