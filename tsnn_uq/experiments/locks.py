"""A lock for each run, so that processes at work in the same folder do not do the same run twice."""

from __future__ import annotations

import errno
import os
import platform
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tsnn_uq.checks import InputError

__all__ = ["UnderWay", "lock_path", "locked"]

UNSUPPORTED = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)


class UnderWay(Exception):
    """Another process, or another thread, does this now."""


def lock_path(folder: Path) -> Path:
    """The lock of a run's folder: a file beside it, so that the folder holds results alone."""
    return folder.with_name(f".lock-{folder.name}")


@contextmanager
def locked(path: Path, *, wait: bool = True) -> Iterator[None]:
    """Hold a lock as long as the context lasts; the system frees it when a process ends, however it ends.

    A file that a killed process left behind is no lock, and the next to come removes it. On a file system without
    locks, and on Windows, nothing is held, after a warning.

    Args:
        path: the lock's file.
        wait: wait until it is free.

    Raises:
        UnderWay: it is not free, and `wait` is not set.
        InputError: the file cannot be written.
    """
    try:
        handle = _acquire(path, wait)
    except OSError as error:
        raise InputError(f"{path}: cannot write here ({error.strerror}); choose another folder") from error
    try:
        yield
    finally:
        path.unlink(missing_ok=True)  # while it is held: after that it may be another's
        os.close(handle)


def _acquire(path: Path, wait: bool) -> int:
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            _lock(handle, wait)
            if os.fstat(handle).st_nlink:
                os.ftruncate(handle, 0)
                os.write(handle, f"{os.getpid()} {platform.node()}\n".encode())  # for people who wonder who it is
                return handle
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)  # removed by whoever held it; the file that now has this name is another


def _lock(handle: int, wait: bool) -> None:
    problem = "on Windows"
    if sys.platform != "win32":
        import fcntl

        try:
            fcntl.flock(handle, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            raise UnderWay from None
        except OSError as error:
            if error.errno not in UNSUPPORTED:
                raise
            problem = str(error.strerror)
    warnings.warn(f"no locks here ({problem}): let one process at a time work in a folder", RuntimeWarning, 2)
