"""Compile kernels with numba, and cache the machine code on disk until any of its sources changes.

numba's own cache compares only the file that defines a function, and not the files of the functions it calls.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from numba import njit
from numba.core.caching import FunctionCache

__all__ = ["compiled", "digest", "inlined", "kernel"]

COMPILED = re.compile(rb"^(from|import) (numba|llvmlite|tsnn_uq\.fast\.(jit|simd))\b", re.MULTILINE)

compiled = njit(nogil=True, error_model="numpy")
"""Decorator for functions that only kernels call."""
inlined = njit(nogil=True, error_model="numpy", inline="always")
"""Decorator for functions that only kernels call, inlined at each call."""


def digest(folder: Path) -> str:
    """SHA-256 of all Python files below a folder that import a compiler."""
    texts = (path.read_bytes() for path in sorted(folder.rglob("*.py")))
    return hashlib.sha256(b"".join(text for text in texts if COMPILED.search(text))).hexdigest()


SOURCES = digest(Path(__file__).parent)


class _Cache(FunctionCache):
    """numba's cache on disk, with the digest of all sources in its keys."""

    def _index_key(self, signature: Any, codegen: Any) -> tuple[Any, ...]:
        return (*super()._index_key(signature, codegen), SOURCES)


def kernel(function: Callable[..., Any]) -> Any:
    """Decorator for functions that Python calls: compiled once for each signature, and cached on disk.

    If a new version of numba ignores the private attribute set here, each process compiles the kernels again.
    """
    dispatcher = compiled(function)
    dispatcher._cache = _Cache(function)
    return dispatcher
