"""Deep ensembles: networks trained independently."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import cycle, islice

import torch
from torch import nn

from tsnn_uq.bayes.posterior import Posterior, copy_network
from tsnn_uq.checks import InputError, check_positive, describe

__all__ = ["Ensemble"]


class Ensemble(Posterior):
    """A distribution of M networks, each with probability 1 / M (Lakshminarayanan et al., 2017).

    `sample` returns a random one; `draws` returns each in turn, so M draws are the ensemble itself.

    Args:
        networks: trained networks, which are copied when drawn.

    Raises:
        InputError: there are no networks, or one is not a module.
    """

    def __init__(self, networks: Sequence[nn.Module]) -> None:
        self.networks = list(networks)
        if not self.networks or not all(isinstance(network, nn.Module) for network in self.networks):
            raise InputError(f"networks: expected at least one network; got {describe(networks)}")

    def sample(self, generator: torch.Generator) -> nn.Module:
        """One of the networks."""
        member = torch.randint(len(self.networks), (), generator=generator, device=generator.device)
        return copy_network(self.networks[int(member)])

    def draws(self, count: int, generator: torch.Generator) -> Iterator[nn.Module]:
        """`count` networks in turn, without randomness."""
        check_positive("samples", count, integer=True)
        return (copy_network(network) for network in islice(cycle(self.networks), count))
