"""Seed everything that a network draws random numbers from, for each pass."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.utils import parametrize

from tsnn_uq.coding import Coding
from tsnn_uq.seeds import derive_seed, generator_for, global_seed
from tsnn_uq.uncertainty.add_dropout import DroppedWeight
from tsnn_uq.uncertainty.library_layers import StepwiseForward
from tsnn_uq.uncertainty.stochastic_layer import StochasticLayer

__all__ = ["RandomSources"]


@dataclass(frozen=True)
class RandomSources:
    """All sources of a network's random numbers, seeded for each pass.

    Attributes:
        seed: seed of all draws of a call.
        layers: the network's random layers, by name.
        noisy: names of other modules that draw.
        stepped: layers that run one step at a time, by name.
        generators: generators of other libraries' modules besides torch's global one, by name.
        device: the device of the draws.
    """

    seed: int
    layers: Mapping[str, nn.Module]
    noisy: Collection[str]
    stepped: Mapping[str, StepwiseForward]
    generators: Mapping[str, torch.Generator]
    device: torch.device

    @contextmanager
    def drawing(self, block: int, samples: range) -> Iterator[None]:
        """Context of a pass that draws `samples` for a block of inputs."""
        for name, layer in self.layers.items():
            # A weight mask depends on the sample alone, a unit mask on the sample and the inputs.
            scope = "all" if getattr(layer, "shared_by_inputs", False) else block
            if isinstance(layer, StochasticLayer):
                layer.begin([generator_for(self.seed, name, scope, s, device=self.device) for s in samples])
            elif isinstance(layer, Coding):
                layer.generators = tuple(generator_for(self.seed, name, scope, s, device=self.device) for s in samples)
        for name, stepped in self.stepped.items():
            stepped.begin(derive_seed(self.seed, name, block, samples.start))
        for name, generator in self.generators.items():
            generator.manual_seed(derive_seed(self.seed, name, block, samples.start))
        seed = derive_seed(self.seed, "global", block, samples.start)
        with self._weights_once(), global_seed(seed, self.device):
            yield

    def _weights_once(self) -> AbstractContextManager[None]:
        """Context that computes a ternary weight once for all time steps, unless each step draws a new one."""
        modes = [getattr(one, "mask", "per-step") for name, one in self.layers.items() if "parametrizations." in name]
        drawn_each_time = "per-step" in modes or any("parametrizations." in name for name in self.noisy)
        return nullcontext() if drawn_each_time else parametrize.cached()

    @property
    def dropped_weights(self) -> list[DroppedWeight]:
        """The parametrizations that drop weights."""
        return [layer for layer in self.layers.values() if isinstance(layer, DroppedWeight)]
