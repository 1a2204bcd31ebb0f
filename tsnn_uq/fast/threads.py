"""Share work out among as many threads as torch may use; results do not depend on how many there are.

Where torch runs on GNU OpenMP (its Linux builds do), the work is done by torch's own team of threads. Its members wait
for their next task by spinning, for milliseconds, and threads of another pool would have to share the processor with
them: a scan of neurons between two matrix products took three times as long. Elsewhere it is a pool of Python threads.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

import torch

__all__ = ["each", "parts"]

Item = TypeVar("Item")
Result = TypeVar("Result")

_local = threading.local()  # .inside: whether this thread is doing a task
_forked = False


@lru_cache(maxsize=1)
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="tsnn-uq")


@lru_cache(maxsize=1)
def _team() -> ctypes.CDLL | None:
    """The GNU OpenMP library that torch runs on, or ``None``."""
    found = sorted((Path(torch.__file__).parent / "lib").glob("libgomp*.so*"))
    try:
        library = ctypes.CDLL(str(found[0])) if found else None
    except OSError:
        return None
    return library if library is not None and hasattr(library, "GOMP_parallel") else None


def _after_fork() -> None:
    """A child has none of its parent's threads, and OpenMP does not notice."""
    global _forked
    _forked = True
    _pool.cache_clear()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_after_fork)


def each(task: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """`task` of each item, in order; tasks run side by side where they give up Python's lock.

    A task that shares out work in its turn does all of it itself: to wait for a thread, it would hold one up.
    """
    todo = list(items)
    threads = min(torch.get_num_threads(), len(todo))
    if threads <= 1 or getattr(_local, "inside", False):
        return [task(item) for item in todo]
    results: list[Any] = [None] * len(todo)
    errors: list[BaseException] = []
    waiting = iter(enumerate(todo))  # what is next; Python's lock guards it

    def work(_: object = None) -> None:
        _local.inside = True
        try:
            for place, item in waiting:
                results[place] = task(item)
        except BaseException as error:  # a team has no way to hand it on
            errors.append(error)
        finally:
            _local.inside = False

    team = None if _forked else _team()
    if team is None:
        list(_pool(threads).map(work, range(threads)))
    else:
        team.GOMP_parallel(ctypes.CFUNCTYPE(None, ctypes.c_void_p)(work), None, threads, 0)
    if errors:
        raise errors[0]
    return results


def parts(task: Callable[[int, int], object], count: int, least: int = 1) -> None:
    """Call `task(first, last)` for consecutive parts of 0 .. `count`.

    There are more parts than threads, to even them out, but none smaller than `least`.
    """
    threads = torch.get_num_threads()
    number = 1 if threads == 1 else max(1, min(count // least, 4 * threads))
    edges = [count * part // number for part in range(number + 1)]
    each(lambda edge: task(*edge), pairwise(edges))
