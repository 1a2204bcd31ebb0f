"""Keep memory that a training step frees for the next step, instead of returning it to the operating system.

Each training step allocates and frees the same tensors. By default, glibc requests every large tensor from the system
again, which has to map and clear its pages. A step of a convolutional network with 13 million weights takes 0.75 to
0.9 s of process time with this, and 1.0 to 1.5 s without (2,400 and 84,000 page faults; batch 32, T = 4, one thread).

These settings of glibc apply to the whole process and cannot be read. Settings made by the user in the environment
(``MALLOC_TOP_PAD_``, ..., or ``GLIBC_TUNABLES``) are left alone. Otherwise, the values set at the end are those that
glibc's own adjustment reaches.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache

__all__ = ["keep_freed_memory"]

# Parameters of mallopt(3). glibc stops adjusting them once one has been set, so GLIBC_ADJUSTED has the values that its
# adjustment reaches in a process that frees large tensors.
TRIM_THRESHOLD, TOP_PAD, MMAP_THRESHOLD, MMAP_MAX = -1, -2, -3, -4
KEEP_ALL = {MMAP_MAX: 0, TRIM_THRESHOLD: 2**31 - 1, TOP_PAD: 2**26}
GLIBC_ADJUSTED = {MMAP_MAX: 65536, MMAP_THRESHOLD: 2**25, TRIM_THRESHOLD: 2**26, TOP_PAD: 2**17}
SET_BY_USER = ("MALLOC_", "GLIBC_TUNABLES")  # prefixes of the environment variables that glibc reads

_inside = 0  # how many of these contexts are open


@lru_cache(maxsize=1)
def _glibc() -> ctypes.CDLL | None:
    """The C library, or ``None`` if it has no `mallopt` or the user has configured its memory."""
    if not sys.platform.startswith("linux") or any(name.startswith(SET_BY_USER) for name in os.environ):
        return None
    library = ctypes.CDLL(None)
    return library if hasattr(library, "mallopt") and hasattr(library, "malloc_trim") else None


@contextmanager
def keep_freed_memory() -> Iterator[None]:
    """Keep freed memory in the process, for all of its threads, and return it to the system on exit.

    Inside the context the process never shrinks. The context does nothing without glibc, or if the user has configured
    glibc's memory.
    """
    global _inside
    library = _glibc()
    if library and not _inside:
        _set(library, KEEP_ALL)
    _inside += 1
    try:
        yield
    finally:
        _inside -= 1
        if library and not _inside:
            _set(library, GLIBC_ADJUSTED)
            library.malloc_trim(0)


def _set(library: ctypes.CDLL, parameters: Mapping[int, int]) -> None:
    for parameter, value in parameters.items():
        library.mallopt(parameter, value)
