"""Save and load posteriors: draws with two bits per weight, or the distribution itself.

In a file of S draws each tensor has a leading axis of length S, or 1 if all draws share the value. A weight that is
ternary in all draws is stored as ``name.codes``, uint8 [S, ceil(n / 4)] in the layout of
`tsnn_uq.quantization.packing`, and ``name.scale``. The files do not contain the architecture; they are loaded into a
network of the same shape.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tsnn_uq.bayes.posterior import copy_network
from tsnn_uq.bayes.variational_posterior import VariationalPosterior
from tsnn_uq.checks import InputError, describe, last_line
from tsnn_uq.files import read_tensors, write_tensors
from tsnn_uq.quantization import select_layers
from tsnn_uq.quantization.channels import outputs_first, transposed_groups
from tsnn_uq.quantization.packing import pack, unpack_weight
from tsnn_uq.quantization.parametrizations import parameter_name
from tsnn_uq.quantization.rules import ternary_parts

__all__ = ["load_draws", "load_posterior", "save_draws", "save_posterior"]

DRAWS, POSTERIOR = "draws", "posterior"


def save_draws(path: str | Path, networks: Sequence[nn.Module], *, header: Mapping[str, Any] | None = None) -> None:
    """Save S draws of a posterior, atomically; weights that are ternary take two bits each.

    Args:
        path: the file, ``.safetensors``.
        networks: networks of the same shape, e.g. ``posterior.samples(32, generator)``.
        header: further values to store, JSON-serializable.

    Raises:
        InputError: there are no networks, or their shapes differ.
    """
    if not networks:
        raise InputError(f"networks: expected at least one network; got {describe(networks)}")
    states = [network.state_dict() for network in networks]
    if any(_shapes(state) != _shapes(states[0]) for state in states):
        raise InputError("networks: expected networks of the same shape; got different ones")
    layers = select_layers(networks[0])
    transposed = {
        f"{name}.{parameter_name(layer)}".lstrip("."): transposed_groups(layer) for name, layer in layers.items()
    }
    tensors: dict[str, Tensor] = {}
    shapes: dict[str, list[int]] = {}
    for name in states[0]:
        values = [state[name] for state in states]
        groups = transposed.get(name)
        parts = [None if groups is None else ternary_parts(outputs_first(value, groups)) for value in values]
        found = [part for part in parts if part is not None]
        if len(found) == len(states):
            shapes[name] = list(found[0][0].shape)
            tensors[f"{name}.codes"] = _together([pack(codes) for codes, _ in found])
            tensors[f"{name}.scale"] = _together(list(torch.broadcast_tensors(*(scale for _, scale in found))))
        else:
            tensors[name] = _together(values)
    form = {"kind": DRAWS, "draws": len(states), "shapes": shapes, "transposed": transposed}
    write_tensors(path, tensors, {**(header or {}), **form})


def load_draws(path: str | Path, network: nn.Module) -> tuple[list[nn.Module], dict[str, Any]]:
    """Load a file of `save_draws`.

    Args:
        path: the file.
        network: a network of the same shape as the saved ones; it is not changed.

    Returns:
        S networks, bit for bit the saved ones, and the header.

    Raises:
        InputError: the file is missing, damaged, of another kind, or of other networks.
    """
    tensors, header = read_tensors(path, DRAWS)
    try:
        shapes, count = header.pop("shapes"), header.pop("draws")
        transposed = header.pop("transposed", {})
        states = [_state(tensors, shapes, transposed, count, draw) for draw in range(count)]
        networks = []
        for state in states:
            networks.append(copy_network(network))
            networks[-1].load_state_dict(state)
    except (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise InputError(f"{path}: expected draws of such a network; {last_line(error)}") from error
    return networks, header


def _state(
    tensors: Mapping[str, Tensor],
    shapes: Mapping[str, list[int]],
    transposed: Mapping[str, int],
    count: int,
    draw: int,
) -> dict[str, Tensor]:
    """The state dict of one draw."""

    def of_draw(name: str) -> Tensor:
        if len(tensors[name]) not in (1, count):
            raise InputError(f"{name}: expected values of 1 or {count} draws; got {len(tensors[name])}")
        return tensors[name][draw if len(tensors[name]) > 1 else 0]

    packed = {f"{name}.{part}" for name in shapes for part in ("codes", "scale")}
    state = {name: of_draw(name) for name in tensors if name not in packed}
    for name, shape in shapes.items():
        groups = transposed.get(name, 0)
        state[name] = unpack_weight(of_draw(f"{name}.codes"), shape, of_draw(f"{name}.scale"), groups)
    return state


def save_posterior(
    path: str | Path, posterior: VariationalPosterior, *, header: Mapping[str, Any] | None = None
) -> None:
    """Save the learned parameters of a variational posterior, atomically.

    Args:
        path: the file, ``.safetensors``.
        posterior: the posterior.
        header: further values to store, JSON-serializable.
    """
    built = {
        "family": posterior.family,
        "layers": {name: family.options for name, family in posterior.weights.items()},
        "noise": posterior.noise,
    }
    write_tensors(path, posterior.state_dict(), {**(header or {}), "kind": POSTERIOR, "posterior": built})


def load_posterior(path: str | Path, network: nn.Module) -> tuple[VariationalPosterior, dict[str, Any]]:
    """Load a file of `save_posterior`.

    Args:
        path: the file.
        network: a network of the same shape as the one that the posterior started from; it is not changed.

    Returns:
        The posterior, in evaluation mode, and the header.

    Raises:
        InputError: the file is missing, damaged, of another kind, or of another network.
    """
    tensors, header = read_tensors(path, POSTERIOR)
    try:
        posterior = VariationalPosterior(network, **header.pop("posterior"))
        posterior.load_state_dict(tensors)
    except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise InputError(f"{path}: expected a posterior of such a network; {last_line(error)}") from error
    return posterior.eval(), header


def _shapes(state: Mapping[str, Tensor]) -> dict[str, torch.Size]:
    return {name: value.shape for name, value in state.items()}


def _together(values: Sequence[Tensor]) -> Tensor:
    """[S, ...], or [1, ...] if all are the same."""
    same = all(torch.equal(value, values[0]) for value in values)
    return torch.stack(list(values[:1] if same else values))
