"""Which compilers of kernels are installed; none of them is imported to find out."""

from __future__ import annotations

import importlib.util
from functools import lru_cache

__all__ = ["is_installed"]


@lru_cache
def is_installed(compiler: str) -> bool:
    """Whether a compiler, such as ``"numba"``, can be imported."""
    return importlib.util.find_spec(compiler) is not None
