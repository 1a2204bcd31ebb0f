"""numba's compiler as the kernels use it, with machine code on disk that follows all sources it was made from.

numba itself keeps the machine code of a function for as long as the file of that function is the same, and does not
look at the files of what it calls.
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
"""Compiles what only kernels call."""
inlined = njit(nogil=True, error_model="numpy", inline="always")
"""Likewise, put in place of each call."""


def digest(folder: Path) -> str:
    """SHA-256 of all files in a folder, and in the folders below, in which something is compiled."""
    texts = (path.read_bytes() for path in sorted(folder.rglob("*.py")))
    return hashlib.sha256(b"".join(text for text in texts if COMPILED.search(text))).hexdigest()


SOURCES = digest(Path(__file__).parent)


class _Cache(FunctionCache):
    """Machine code on disk, each piece under the digest of its sources."""

    def _index_key(self, signature: Any, codegen: Any) -> tuple[Any, ...]:
        return (*super()._index_key(signature, codegen), SOURCES)


def kernel(function: Callable[..., Any]) -> Any:
    """Compile what Python calls: for each types of arguments once, and kept on disk.

    If numba changes how it keeps machine code, kernels are compiled again in each process.
    """
    dispatcher = compiled(function)
    dispatcher._cache = _Cache(function)
    return dispatcher
