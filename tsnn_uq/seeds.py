"""Named random generators derived from one seed, so that a new consumer does not change the numbers of others."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy
import torch

__all__ = ["GlobalStates", "derive_seed", "drawn_seed", "generator_for", "generator_on", "global_seed"]


def derive_seed(seed: int, *names: object) -> int:
    """A 63-bit seed that depends on `seed` and on all of `names`, the same on every machine.

    Example:
        >>> derive_seed(0, "dropout") == derive_seed(0, "dropout")
        True
        >>> derive_seed(0, "dropout") == derive_seed(0, "data")
        False
    """
    text = "/".join(str(part) for part in (seed, *names))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator_for(seed: int, *names: object, device: torch.device | str = "cpu") -> torch.Generator:
    """Create a `torch.Generator` for one purpose, seeded by `derive_seed`."""
    return torch.Generator(device=device).manual_seed(derive_seed(seed, *names))


def generator_on(device: torch.device, generator: torch.Generator) -> torch.Generator:
    """Return the generator if it is on `device`; otherwise create one there, seeded by a draw from it."""
    if generator.device == device:
        return generator
    return torch.Generator(device=device).manual_seed(drawn_seed(generator))


def drawn_seed(generator: torch.Generator) -> int:
    """Draw a seed from a generator on any device."""
    return int(torch.randint(2**62, (), generator=generator, device=generator.device))


@contextmanager
def global_seed(seed: int, device: torch.device) -> Iterator[None]:
    """Context that seeds torch's global generators, for layers of other libraries, and restores them afterwards."""
    cuda = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=cuda):
        for generator in [torch.default_generator, *(torch.cuda.default_generators[one.index] for one in cuda)]:
            generator.manual_seed(seed)
        yield


class GlobalStates:
    """States of the global generators of torch, Python and NumPy, for foreign code that draws from them.

    Args:
        seed: seed of the initial states.

    Example:
        >>> states = GlobalStates(0)
        >>> with states.lent():
        ...     first = torch.rand(1)
        >>> with states.lent():  # continues
        ...     second = torch.rand(1)
        >>> bool(first == second)
        False
    """

    def __init__(self, seed: int) -> None:
        self.states: tuple[Any, ...] = (
            torch.Generator().manual_seed(seed).get_state(),
            random.Random(seed).getstate(),
            numpy.random.RandomState(seed % 2**32).get_state(),
        )

    @contextmanager
    def lent(self) -> Iterator[None]:
        """Context in which the global generators continue from these states; the previous states are restored."""
        around = _states()
        _set_states(self.states)
        try:
            yield
        finally:
            self.states = _states()
            _set_states(around)


def _states() -> tuple[Any, ...]:
    return torch.get_rng_state(), random.getstate(), numpy.random.get_state()


def _set_states(states: tuple[Any, ...]) -> None:
    torch.set_rng_state(states[0])
    random.setstate(states[1])
    numpy.random.set_state(states[2])
