"""Parameters of the LIF neuron."""

from __future__ import annotations

from dataclasses import dataclass, field

from tsnn_uq.checks import check_choice, check_fraction, check_positive
from tsnn_uq.neurons.surrogate import Surrogate, surrogate

__all__ = ["LIFParameters"]


@dataclass(frozen=True)
class LIFParameters:
    """Parameters of a LIF neuron.

    Attributes:
        decay: share of the membrane potential left after one step (0 to 1).
        threshold: potential at which a spike is fired.
        reset: ``"soft"`` subtracts the threshold after a spike, ``"hard"`` sets the potential to zero.
        detach_reset: exclude the reset from the gradient (Zenke and Vogels, 2021).
        surrogate: the surrogate gradient of the spike.
    """

    decay: float = 0.5
    threshold: float = 1.0
    reset: str = "soft"
    detach_reset: bool = True
    surrogate: Surrogate = field(default_factory=surrogate)

    def __post_init__(self) -> None:
        check_fraction("decay", self.decay)
        check_positive("threshold", self.threshold)
        check_choice("reset", self.reset, ("soft", "hard"))
