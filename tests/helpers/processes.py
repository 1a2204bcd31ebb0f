"""Processes that can be killed and start at once: each is forked from one that has imported all that they need."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from typing import Any

WAIT = 300.0  # on a machine that does much else too
_POSIX = hasattr(os, "killpg")
_CONTEXT = get_context("forkserver" if _POSIX else "spawn")
_CONTEXT.set_forkserver_preload(["torch._dynamo", "tsnn_uq.cli", "tsnn_uq.experiments", "pytest"])


@contextmanager
def started(function: Callable[..., object], *arguments: Any) -> Iterator[BaseProcess]:
    """A process, and group of processes, that calls a function of a module; what is left of it in the end is killed."""
    process = _CONTEXT.Process(target=_call, args=(function, arguments))
    process.start()
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            if _POSIX:
                os.killpg(process.pid, signal.SIGKILL)
        process.kill()
        process.join()


def kill_when(process: BaseProcess, condition: Callable[[], bool], *, whole_group: bool = True) -> None:
    """Kill -9 as soon as `condition` holds; it has to hold before the process ends."""
    deadline = time.monotonic() + WAIT
    while not condition():
        assert process.is_alive(), "ended before it was to be killed"
        assert time.monotonic() < deadline
        time.sleep(0.002)
    if whole_group:
        os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL


def _call(function: Callable[..., object], arguments: tuple[Any, ...]) -> None:
    if _POSIX:
        os.setsid()
    function(*arguments)
