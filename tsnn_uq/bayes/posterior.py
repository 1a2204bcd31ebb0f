"""What all posteriors have in common: a draw is a network."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from tsnn_uq.checks import check_positive
from tsnn_uq.state import copy_at_rest
from tsnn_uq.uncertainty import mc_predict

__all__ = ["Posterior", "copy_network"]


class Posterior(ABC):
    """A distribution of networks."""

    @abstractmethod
    def sample(self, generator: torch.Generator) -> nn.Module:
        """Draw a network: an independent copy, in evaluation mode, that knows nothing of the posterior.

        A generator on another device than the network's gives only a seed.
        """

    def draws(self, count: int, generator: torch.Generator) -> Iterator[nn.Module]:
        """Draw `count` networks, one after the other, each when it is asked for."""
        check_positive("samples", count, integer=True)
        return (self.sample(generator) for _ in range(count))

    def samples(self, count: int, generator: torch.Generator) -> list[nn.Module]:
        """Draw `count` networks; all of them are in memory at once."""
        return list(self.draws(count, generator))

    def predict(
        self, images: Tensor, *, samples: int = 32, generator: torch.Generator, per_step: bool = False, **options: Any
    ) -> Tensor:
        """Predict with S networks, which are drawn one at a time.

        Layers that are random by themselves, such as dropout, draw once for each network.

        Args:
            images: inputs [N, ...].
            samples: S.
            generator: where the networks, and what is random in them, come from.
            per_step: return the prediction after each time step.
            options: of `tsnn_uq.uncertainty.mc_predict`, e.g. ``batch_size``.

        Returns:
            Probabilities [S, N, C], or [S, T, N, C] with `per_step`.
        """
        options |= {"samples": 1, "generator": generator, "per_step": per_step}
        return torch.cat([mc_predict([network], images, **options) for network in self.draws(samples, generator)])


def copy_network(network: nn.Module, put: dict[int, nn.Module] | None = None) -> nn.Module:
    """A deep copy in evaluation mode, at rest, that draws from no generator yet.

    Args:
        network: any module.
        put: modules to put in the place of others, by the others' ``id``.
    """
    copied = copy_at_rest(network, put)
    module: Any
    for module in copied.modules():
        if getattr(module, "generators", ()):
            module.generators = ()
    return copied.eval()
