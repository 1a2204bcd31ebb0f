"""Spiking neurons: pure step and scan functions and the thin modules around them."""

from tsnn_uq.neurons.li import LI
from tsnn_uq.neurons.lif import LIF, lif_scan, lif_step
from tsnn_uq.neurons.lif_parameters import LIFParameters
from tsnn_uq.neurons.plif import PLIF
from tsnn_uq.neurons.potentials import watch_potentials
from tsnn_uq.neurons.srm import SRM, srm_potentials, srm_scan
from tsnn_uq.neurons.srm_parameters import SRMParameters
from tsnn_uq.neurons.surrogate import SURROGATES, Surrogate, spike, surrogate

__all__ = [
    "LI",
    "LIF",
    "PLIF",
    "SRM",
    "SURROGATES",
    "LIFParameters",
    "SRMParameters",
    "Surrogate",
    "lif_scan",
    "lif_step",
    "spike",
    "srm_potentials",
    "srm_scan",
    "surrogate",
    "watch_potentials",
]
