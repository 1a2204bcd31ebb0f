"""The parametric LIF (PLIF) neuron: a LIF neuron whose time constant is learned (Fang et al., 2021)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from tsnn_uq.checks import InputError
from tsnn_uq.constant_input import is_constant, repeat_over_time, single_step
from tsnn_uq.neurons.lif import lif_scan
from tsnn_uq.neurons.lif_parameters import LIFParameters
from tsnn_uq.neurons.potentials import WatchedNeuron

__all__ = ["PLIF"]


class PLIF(WatchedNeuron):
    """A layer of PLIF neurons: current [T, N, ...] in, spikes [T, N, ...] out, without state between calls.

    h[t] = v[t-1] + (x[t] - v[t-1]) / tau, with 1 / tau = sigmoid(a) and one learned `a` for the layer ("Incorporating
    Learnable Membrane Time Constant to Enhance Learning of Spiking Neural Networks", ICCV 2021, equations 6 and 9): a
    LIF neuron of decay 1 - 1 / tau whose input current is divided by tau.

    Args:
        params: the neuron; its decay is the initial value, so that tau starts at 1 / (1 - decay). The default is that
            of the paper: decay 0.5 (tau = 2), threshold 1, reset to zero.

    Attributes:
        a: the learned parameter [].

    Raises:
        InputError: the decay is 0 or 1, which needs an infinite `a`.
    """

    def __init__(self, params: LIFParameters | None = None) -> None:
        super().__init__()
        self.params = params or LIFParameters(reset="hard")
        if not 0 < self.params.decay < 1:
            raise InputError(f"decay: expected above 0 and below 1 for a PLIF neuron; got {self.params.decay}")
        self.a = nn.Parameter(torch.tensor(-math.log(self.params.decay / (1 - self.params.decay))))

    @property
    def tau(self) -> float:
        """The membrane time constant, in time steps."""
        return 1 / self.a.detach().cpu().double().sigmoid().item()

    def forward(self, current: Tensor) -> Tensor:
        """Spikes of all T steps; see `tsnn_uq.neurons.lif_scan`."""
        rate = self.a.sigmoid()
        steps = len(current)
        charge = (
            repeat_over_time(rate * single_step(current), steps) if steps and is_constant(current) else rate * current
        )
        return lif_scan(charge, self.params, decay=1 - rate, watch=self.watch)

    def extra_repr(self) -> str:
        """Parameters, for ``print(network)``."""
        p = self.params
        return f"tau={self.tau:.3g}, threshold={p.threshold}, reset={p.reset}, surrogate={p.surrogate.name}"
