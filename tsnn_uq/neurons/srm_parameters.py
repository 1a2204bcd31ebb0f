"""Parameters of the SRM neuron."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from tsnn_uq.checks import check_positive

__all__ = ["SRMParameters"]


@dataclass(frozen=True)
class SRMParameters:
    """Parameters of an SRM neuron; the defaults are those of SLAYER's N-MNIST example.

    Attributes:
        threshold: potential theta at which a spike is fired.
        tau_s_ms: time constant of the response to an input spike, ms.
        tau_r_ms: time constant of the refractory response to the neuron's own spike, ms.
        refractory: size of the refractory response, in thresholds.
        tau_rho: how far from the threshold the gradient reaches, in thresholds.
        step_ms: length of a time step, ms.

    Raises:
        InputError: a parameter is not above zero.
    """

    threshold: float = 10.0
    tau_s_ms: float = 10.0
    tau_r_ms: float = 1.0
    refractory: float = 2.0
    tau_rho: float = 1.0
    step_ms: float = 1.0

    def __post_init__(self) -> None:
        for field in fields(self):
            check_positive(field.name, getattr(self, field.name))

    @property
    def response(self) -> tuple[float, float]:
        """(a, c), such that eps[k] = c k a^k."""
        rate = self.step_ms / self.tau_s_ms
        return math.exp(-rate), math.e * rate

    @property
    def refraction(self) -> tuple[float, float]:
        """(a, c), such that nu[k] = -c k a^k."""
        rate = self.step_ms / self.tau_r_ms
        return math.exp(-rate), self.refractory * self.threshold * math.e * rate

    @property
    def width(self) -> float:
        """tau_rho theta: the distance from the threshold at which rho has fallen to 1/e."""
        return self.tau_rho * self.threshold
