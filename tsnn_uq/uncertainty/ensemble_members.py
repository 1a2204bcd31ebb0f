"""The networks of a Monte Carlo prediction, with what is random in each and its share of the samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from tsnn_uq.batches import device_of
from tsnn_uq.checks import InputError, describe
from tsnn_uq.uncertainty.find_randomness import Randomness, find_randomness
from tsnn_uq.uncertainty.sampling_options import SAMPLES, Networks, Sampling
from tsnn_uq.uncertainty.stochastic_mode import uncompiled

__all__ = ["Member", "as_networks", "members"]


@dataclass(frozen=True)
class Member:
    """One network of an ensemble, or a single network.

    Attributes:
        network: the network, uncompiled.
        randomness: what is random in it.
        sampling: how its share of the samples is drawn.
        seed: seed of all its draws.
    """

    network: nn.Module
    randomness: Randomness
    sampling: Sampling
    seed: int

    def bring(self, inputs: Tensor) -> Tensor:
        """`inputs` on the network's device, or unchanged if it has neither parameters nor buffers."""
        return inputs.to(device_of(self.network, inputs.device), non_blocking=True)


def members(model: Networks, inputs: Tensor, sampling: Sampling) -> list[Member]:
    """The networks of an ensemble with their shares of the samples: S / M if all are random, one each if none is.

    Args:
        model: a network, or M of them.
        inputs: some of their inputs.
        sampling: the choices for the whole ensemble.

    Raises:
        InputError: there are no networks, a single network is not random, layers have no weights, the samples cannot
            be divided among the networks, or only some of the networks are random.
    """
    alone = isinstance(model, nn.Module) and not isinstance(model, nn.ModuleList)
    networks = [uncompiled(network) for network in as_networks(model)]
    for network in networks:
        _check_layers(network)
    found = [find_randomness(network, inputs.to(device_of(network, inputs.device)), sampling) for network in networks]
    if alone and not found[0]:
        raise InputError(
            "model: expected a stochastic layer, such as a Dropout with p > 0; found none, and nothing "
            "else in it is random (add one with make_stochastic)"
        )
    if len({bool(one) for one in found}) > 1:
        names = ", ".join(str(i) for i, one in enumerate(found) if not one)
        raise InputError(
            f"model: expected networks that are all random, or none; got some without random layers: {names}"
        )
    samples = sampling.count if alone else _share(len(networks), bool(found[0]), sampling.samples)
    share = replace(sampling, samples=samples)
    return [
        Member(network, randomness, share, sampling.seed() if randomness else 0)
        for network, randomness in zip(networks, found, strict=True)
    ]


def as_networks(model: Networks) -> list[nn.Module]:
    """The networks of an ensemble, or a single network, as a list."""
    if isinstance(model, nn.Module) and not isinstance(model, nn.ModuleList):
        return [model]
    networks = list(model) if isinstance(model, Sequence | nn.ModuleList) else []
    if not networks or not all(isinstance(network, nn.Module) for network in networks):
        raise InputError(f"model: expected a network or a list of networks; got {describe(model)}")
    return networks


def _check_layers(network: nn.Module) -> None:
    for name, layer in network.named_modules():
        if any(map(is_lazy, layer.parameters(recurse=False))):
            raise InputError(
                f"model: expected layers that have weights; {name!r} ({type(layer).__name__}) gets them in its first "
                "pass (run the network once before)"
            )
        if isinstance(layer, torch.jit.ScriptModule) and "Drop" in layer.original_name:
            raise InputError(
                f"model: expected dropout that can be switched on; {name!r} ({layer.original_name}) was compiled by "
                "torch.jit (use the module that it was made of)"
            )


def _share(networks: int, random: bool, samples: int | None) -> int:
    if not random:
        if samples not in (None, networks):
            why = "one of each network, since nothing in them is random"
            raise InputError(f"samples: expected {networks}, {why}; got {samples}")
        return 1
    if samples is None:
        return -(-SAMPLES // networks)
    if samples % networks:
        raise InputError(f"samples: expected a multiple of the {networks} networks; got {samples}")
    return samples // networks
