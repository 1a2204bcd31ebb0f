"""Choose the backend for a tensor: numba, Triton or plain PyTorch. No compiler is imported to find out."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Mapping
from functools import lru_cache
from types import ModuleType

import torch

__all__ = ["compiler_for", "is_installed", "kernels_for"]

COMPILERS = {"cpu": "numba", "cuda": "triton"}
DTYPES = (torch.float32, torch.float64)


@lru_cache
def is_installed(compiler: str) -> bool:
    """Whether a compiler, such as ``"numba"``, can be imported."""
    return importlib.util.find_spec(compiler) is not None


def compiler_for(device: torch.device, dtype: torch.dtype = torch.float32) -> str | None:
    """The compiler whose kernels run on a device, ``"numba"`` or ``"triton"``, or ``None`` for plain PyTorch.

    Example:
        >>> compiler_for(torch.device("cpu")), compiler_for(torch.device("cpu"), torch.bfloat16)
        ('numba', None)
    """
    compiler = COMPILERS.get(device.type)
    return compiler if compiler and dtype in DTYPES and is_installed(compiler) else None


def kernels_for(modules: Mapping[str, str], plain: ModuleType, like: torch.Tensor) -> ModuleType:
    """Import the module with the kernels for a tensor.

    Args:
        modules: name of the module for each compiler.
        plain: module to use if none of them can run.
        like: tensor whose device and dtype decide.
    """
    name = modules.get(compiler_for(like.device, like.dtype) or "")
    return plain if name is None else importlib.import_module(name)
