"""Named random generators from one seed: adding a consumer never shifts the numbers of another."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch

__all__ = ["derive_seed", "generator_for", "global_seed"]


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
    """A fresh `torch.Generator` for one purpose, seeded by `derive_seed`."""
    return torch.Generator(device=device).manual_seed(derive_seed(seed, *names))


@contextmanager
def global_seed(seed: int, device: torch.device) -> Iterator[None]:
    """Lend torch's global generators a seed, for layers of other libraries, which know no others."""
    cuda = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=cuda):
        for generator in [torch.default_generator, *(torch.cuda.default_generators[one.index] for one in cuda)]:
            generator.manual_seed(seed)
        yield
