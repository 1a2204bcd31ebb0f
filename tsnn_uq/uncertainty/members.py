"""The networks of a Monte Carlo prediction: what is random in each, and its share of the samples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from tsnn_uq.checks import InputError, describe
from tsnn_uq.uncertainty.probe import Randomness, probe
from tsnn_uq.uncertainty.sampling import SAMPLES, Networks, Sampling
from tsnn_uq.uncertainty.stochastic import uncompiled

__all__ = ["Member", "members"]


@dataclass(frozen=True)
class Member:
    """One network of an ensemble, or the only one.

    Attributes:
        network: the network, not compiled.
        randomness: what is random in it.
        sampling: how its share of the samples is drawn.
    """

    network: nn.Module
    randomness: Randomness
    sampling: Sampling


def members(model: Networks, inputs: Tensor, sampling: Sampling) -> list[Member]:
    """Each network of an ensemble with its share of the samples: S / M where all are random, one where none is.

    Args:
        model: a network, or M of them.
        inputs: what they take.
        sampling: the choices for all together.

    Raises:
        InputError: no networks, a single one that is not random, layers without weights, samples that cannot be shared
            out, or some networks random and some not.
    """
    _check_inputs(inputs, sampling.batch_dim)
    alone = isinstance(model, nn.Module) and not isinstance(model, nn.ModuleList)
    networks = [uncompiled(network) for network in _several(model)]
    for network in networks:
        _check_layers(network)
    found = [probe(network, inputs, sampling) for network in networks]
    if alone and not found[0]:
        raise InputError(
            "model: expected a stochastic layer, such as a Dropout with p > 0; found none, nor anything else that is "
            "random (make_stochastic puts one in)"
        )
    if alone:
        return [Member(networks[0], found[0], sampling)]
    if len({bool(one) for one in found}) > 1:
        names = ", ".join(str(i) for i, one in enumerate(found) if not one)
        raise InputError(
            f"model: expected networks that are all random, or none; got some without random layers: {names}"
        )
    samples, total = _share(len(networks), bool(found[0]), sampling.samples), inputs.shape[sampling.batch_dim]
    shares = [
        replace(sampling, samples=samples, progress=_after(i * total, sampling.progress)) for i in range(len(found))
    ]
    return [Member(*parts) for parts in zip(networks, found, shares, strict=True)]


def _several(model: Networks) -> list[nn.Module]:
    if isinstance(model, nn.Module) and not isinstance(model, nn.ModuleList):
        return [model]
    networks = list(model) if isinstance(model, Sequence | nn.ModuleList) else []
    if not networks or not all(isinstance(network, nn.Module) for network in networks):
        raise InputError(f"model: expected a network or a list of networks; got {describe(model)}")
    return networks


def _check_inputs(inputs: Tensor, batch_dim: int) -> None:
    if not isinstance(inputs, Tensor) or not 0 <= batch_dim < inputs.dim() or inputs.shape[batch_dim] == 0:
        raise InputError(f"inputs: expected at least one input along axis {batch_dim}; got {describe(inputs)}")


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


def _after(done: int, progress: Callable[[int], object] | None) -> Callable[[int], object] | None:
    return progress and (lambda more: progress(done + more))
