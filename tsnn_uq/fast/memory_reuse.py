"""Keep the memory that a training frees for its next step, instead of handing it back to the operating system.

A step makes and frees the same tensors as the one before. glibc asks the system for each of the large ones again, which
then has to find and clear its pages. A step of a convolutional network of 13 million weights takes 0.75 to 0.9 s of
process time with this, and 1.0 to 1.5 s without (2,400 and 84,000 page faults; batch 32, T = 4, one thread).

glibc has these settings for a whole process, and no function that reads them. A process in which the user has set them
(``MALLOC_TOP_PAD_``, ..., or ``GLIBC_TUNABLES``) keeps the user's; in others, the values set at the end are those that
glibc itself arrives at.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache

__all__ = ["keep_pages"]

# Parameters of mallopt(3), what they are to be, and what glibc's own adjusting brings them to in a process that frees
# large tensors: once one was set, it adjusts none of them any more.
TRIM_THRESHOLD, TOP_PAD, MMAP_THRESHOLD, MMAP_MAX = -1, -2, -3, -4
KEPT = {MMAP_MAX: 0, TRIM_THRESHOLD: 2**31 - 1, TOP_PAD: 2**26}
USUAL = {MMAP_MAX: 65536, MMAP_THRESHOLD: 2**25, TRIM_THRESHOLD: 2**26, TOP_PAD: 2**17}
SET_BY_USER = ("MALLOC_", "GLIBC_TUNABLES")  # how the variables begin that glibc reads when a process starts

_inside = 0  # how many of these contexts are open


@lru_cache(maxsize=1)
def _glibc() -> ctypes.CDLL | None:
    """The C library, where it has `mallopt` and the user has not set it up."""
    if not sys.platform.startswith("linux") or any(name.startswith(SET_BY_USER) for name in os.environ):
        return None
    library = ctypes.CDLL(None)
    return library if hasattr(library, "mallopt") and hasattr(library, "malloc_trim") else None


@contextmanager
def keep_pages() -> Iterator[None]:
    """Let freed memory stay with the process, for all of its threads, and hand it back at the end.

    The process then stays as large as it has been at its largest. Without glibc, and where the user has set up its
    memory, nothing is done.
    """
    global _inside
    library = _glibc()
    if library and not _inside:
        _set(library, KEPT)
    _inside += 1
    try:
        yield
    finally:
        _inside -= 1
        if library and not _inside:
            _set(library, USUAL)
            library.malloc_trim(0)


def _set(library: ctypes.CDLL, parameters: Mapping[int, int]) -> None:
    for parameter, value in parameters.items():
        library.mallopt(parameter, value)
