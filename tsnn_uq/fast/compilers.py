"""The one place that decides which backend runs; no compiler is imported to find out."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Mapping
from functools import lru_cache
from types import ModuleType

import torch

__all__ = ["choose", "compiler_for", "is_installed"]

COMPILERS = {"cpu": "numba", "cuda": "triton"}
DTYPES = (torch.float32, torch.float64)


@lru_cache
def is_installed(compiler: str) -> bool:
    """Whether a compiler, such as ``"numba"``, can be imported."""
    return importlib.util.find_spec(compiler) is not None


def compiler_for(device: torch.device, dtype: torch.dtype = torch.float32) -> str | None:
    """The compiler of kernels for a device: numba, Triton, or ``None`` where plain PyTorch has to do.

    Example:
        >>> compiler_for(torch.device("cpu")), compiler_for(torch.device("cpu"), torch.bfloat16)
        ('numba', None)
    """
    compiler = COMPILERS.get(device.type)
    return compiler if compiler and dtype in DTYPES and is_installed(compiler) else None


def choose(modules: Mapping[str, str], plain: ModuleType, like: torch.Tensor) -> ModuleType:
    """The module that has the kernels for a tensor, from names by compiler; `plain` where there are none.

    It is imported now and not earlier, since compilers are slow to import.
    """
    name = modules.get(compiler_for(like.device, like.dtype) or "")
    return plain if name is None else importlib.import_module(name)
