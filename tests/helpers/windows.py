"""File operations that refuse what Windows refuses, on top of Linux's own."""

from __future__ import annotations

import builtins
import errno
import io
import os
import re
from pathlib import Path

import pytest

__all__ = ["behave_as_windows"]

# What no file name may have, and names of devices, with or without a suffix.
BAD = re.compile(r'[<>:"|?*\x00-\x1f\\]|[ .]$|^(con|prn|aux|nul|com\d|lpt\d)(\.|$)', re.I)
OPEN_FILES, MAPPED_FILES = Path("/proc/self/fd"), Path("/proc/self/maps")


def behave_as_windows(monkeypatch: pytest.MonkeyPatch, below: Path) -> None:
    """Make this process's file operations behave as those of Windows, as far as they concern paths below a folder.

    - `os.fsync` refuses a descriptor that is only open for reading.
    - A file that is open or mapped to memory in this process can neither be removed nor renamed nor replaced.
    - A folder cannot be opened.
    - Names with ``<>:"|?*``, with a space or a dot at the end, or of a device cannot be made.
    """
    below = below.resolve()

    def is_open(path: Path) -> bool:
        targets = []
        for link in OPEN_FILES.iterdir():
            try:
                targets.append(os.readlink(link))
            except OSError:  # the descriptor of this very loop
                continue
        return str(path) in targets or f" {path}\n" in f"{MAPPED_FILES.read_text()}\n"

    def concerned(path: object) -> Path | None:
        if not isinstance(path, str | Path):  # a descriptor
            return None
        whole = Path(os.path.abspath(path))
        return whole if below in whole.parents else None

    def refuse_if_open(function):
        def refusing(*paths, **options):
            for path in map(concerned, paths):
                if path and path.is_file() and is_open(path):
                    raise PermissionError(errno.EACCES, "The process cannot access the file", str(path))
            return function(*paths, **options)

        return refusing

    def refuse_names(function, *, folders: bool):
        def refusing(path, *arguments, **options):
            whole = concerned(path)
            if whole:
                for name in whole.relative_to(below).parts:
                    if BAD.search(name):
                        raise OSError(errno.EINVAL, "The filename, directory name, or volume label syntax is incorrect")
                if not folders and whole.is_dir():
                    raise PermissionError(errno.EACCES, "Permission denied", str(path))
            return function(path, *arguments, **options)

        return refusing

    fsync = os.fsync

    def flush(descriptor: int) -> None:
        import fcntl

        if fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
            raise OSError(errno.EBADF, "Bad file descriptor")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", flush)
    for name in ("replace", "rename", "unlink", "remove"):
        monkeypatch.setattr(os, name, refuse_if_open(getattr(os, name)))
    monkeypatch.setattr(os, "mkdir", refuse_names(os.mkdir, folders=True))
    for module in (os, io, builtins):
        monkeypatch.setattr(module, "open", refuse_names(module.open, folders=False))
