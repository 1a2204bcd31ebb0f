"""Network families by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from tsnn_uq.checks import check_choice
from tsnn_uq.networks import convolutional, fully_connected, spike_response
from tsnn_uq.seeds import drawn_seed

__all__ = ["FAMILIES", "build", "drawn_from"]

FAMILIES: dict[str, Callable[..., nn.Module]] = {
    "dropconnect": fully_connected.dropconnect,
    "dropout": fully_connected.dropout,
    "plif": convolutional.plif,
    "slayer": spike_response.slayer,
    "vgg": convolutional.vgg,
}


def build(family: str, *, generator: torch.Generator, **options: Any) -> nn.Module:
    """Build a network of a family with initial weights drawn from `generator`.

    Args:
        family: a name in `FAMILIES`.
        generator: source of the initial weights.
        options: the family's own arguments, e.g. ``sizes`` and ``steps``.

    Raises:
        InputError: the family is unknown, or an option is out of range.
    """
    check_choice("family", family, FAMILIES)
    with drawn_from(generator):
        return FAMILIES[family](**options)


@contextmanager
def drawn_from(generator: torch.Generator) -> Iterator[None]:
    """Context that seeds torch's global generator, which initializes its layers, from `generator`."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(drawn_seed(generator))
        yield
