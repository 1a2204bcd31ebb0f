"""A penalty on firing rates, since each spike costs energy."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from tsnn_uq.checks import InputError, check_fraction
from tsnn_uq.neurons.potentials import WatchedNeuron
from tsnn_uq.training.regularizers.base import LayersRegularizer

__all__ = ["RateRegularizer"]


@dataclass(frozen=True)
class RateRegularizer(LayersRegularizer):
    """Excess of the firing rate of LIF, PLIF and SRM layers over a target.

    max(0, r - target) with the rate r, the mean over steps and neurons of a layer; then the mean over inputs and
    layers. Gradients go through the surrogate of each spike.

    Args:
        target: rate without a penalty, in spikes per neuron and step.

    Raises:
        InputError: `target` is not from 0 to 1.
    """

    target: float = 0.0

    def __post_init__(self) -> None:
        check_fraction("target", self.target)

    @contextmanager
    def watch(self, model: nn.Module) -> Iterator[list[Tensor]]:
        """Context that records, for each layer, the value of each row of the batch."""
        seen: list[Tensor] = []

        def see(_layer: nn.Module, _inputs: Any, spikes: Tensor) -> None:
            seen.append((spikes.transpose(0, 1).flatten(1).mean(1) - self.target).clamp_min(0))

        layers = [module for module in model.modules() if isinstance(module, WatchedNeuron)]
        if not layers:
            raise InputError("model: expected LIF, PLIF or SRM neurons of tsnn_uq; got none")
        handles = [layer.register_forward_hook(see) for layer in layers]
        try:
            yield seen
        finally:
            for handle in handles:
                handle.remove()
